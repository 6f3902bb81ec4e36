"""LoRA through peft: two small matrices a layer learn, all else stays (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.lora_file import CONFIG, PEFT
from pixart_cli.diffusion.tensor_file import save_tensors
from pixart_cli.diffusion.training.optimizer import EXTRA

if TYPE_CHECKING:
    from peft import LoraConfig

_PREFIX = "base_model.model."


def add_lora(network: nn.Module, *, rank: int, alpha: float, targets: Sequence[str], seed: int) -> LoraConfig:
    """Give `network` a LoRA of float32 weights, the only ones that learn; gives peft's configuration of it.

    It starts as nothing: A is drawn from `seed`, B is zero.

    Raises:
        PixartError: "not-in-this-build" without peft.
        ValueError: when no layer has one of the names `targets`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        what = 'method = "lora" needs the library peft'
        raise PixartError("not-in-this-build", what, f"Install it: {EXTRA}") from None
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights="gaussian")
    network.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return config


def lora_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of the LoRA of `network`, by peft's names."""
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(network)
    return {_PREFIX + key: value for key, value in found.items()}


def write_lora(
    folder: Path, tensors: Mapping[str, Tensor], config: LoraConfig, record: Mapping[str, Any]
) -> None:
    """Write peft's two files of the LoRA `tensors` into `folder`, for `gen --lora` and other programs.

    Raises:
        OSError: what the disk says.
    """
    save_tensors(tensors, folder / PEFT, {"pixart": json.dumps(record)})
    values = {key: _plain(value) for key, value in config.to_dict().items()}
    values |= {"inference_mode": True, "base_model_name_or_path": record.get("model")}
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON data: peft keeps sets and enumerations."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return getattr(value, "value", value)
