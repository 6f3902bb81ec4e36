"""LoRAs for the toy transformer, in the spellings that other programs save."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

MODULES = (
    "transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_out.0",
    "transformer_blocks.1.attn2.to_v", "transformer_blocks.1.ff.net.0.proj", "pos_embed.proj", "proj_out",
)  # fmt: skip
RANK = 3
# Of a module's dotted name: the names of its down and up matrices, and of its alpha if the style has one.
STYLES: dict[str, Callable[[str], tuple[str, str, str]]] = {
    "peft": lambda m: (f"base_model.model.{m}.lora_A.weight", f"base_model.model.{m}.lora_B.weight", ""),
    "peft, named": lambda m: (
        f"base_model.model.{m}.lora_A.default.weight", f"base_model.model.{m}.lora_B.default.weight", "",
    ),
    "diffusers": lambda m: (f"transformer.{m}.lora_A.weight", f"transformer.{m}.lora_B.weight", ""),
    "diffusers, alpha": lambda m: (
        f"transformer.{m}.lora.down.weight", f"transformer.{m}.lora.up.weight", f"transformer.{m}.alpha",
    ),
    "bare": lambda m: (f"{m}.lora_A.weight", f"{m}.lora_B.weight", ""),
    "comfy": lambda m: (
        f"diffusion_model.{m}.lora_down.weight", f"diffusion_model.{m}.lora_up.weight",
        f"diffusion_model.{m}.alpha",
    ),
    "kohya": lambda m: _kohya("lora_unet_", m),
    "kohya, transformer": lambda m: _kohya("lora_transformer_", m),
}  # fmt: skip


def _kohya(prefix: str, module: str) -> tuple[str, str, str]:
    name = prefix + module.replace(".", "_")
    return f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"


def matrices(
    transformer: torch.nn.Module, modules: Iterable[str] = MODULES, *, seed: int = 0
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) by module, of rank 3: (3, in …) and (out, 3 …)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in modules:
        out, *into = transformer.get_submodule(name).weight.shape
        ones = (1,) * (len(into) - 1)
        found[name] = (
            0.3 * torch.randn(RANK, *into, generator=generator),
            0.3 * torch.randn(out, RANK, *ones, generator=generator),
        )
    return found


def spelled(
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], style: str, alpha: float | None = None
) -> dict[str, torch.Tensor]:
    """`pairs` as the tensors of a file of that `style`; `alpha` where the style has a place for it."""
    tensors = {}
    for module, (down, up) in pairs.items():
        down_name, up_name, alpha_name = STYLES[style](module)
        tensors |= {down_name: down, up_name: up}
        if alpha_name and alpha is not None:
            tensors[alpha_name] = torch.tensor(alpha)
    return tensors


def save_lora(path: Path, tensors: dict[str, torch.Tensor], config: dict[str, object] | None = None) -> Path:
    """Save `tensors` at `path`, and peft's `config` beside them; gives `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    if config is not None:
        path.with_name("adapter_config.json").write_text(json.dumps(config))
    return path
