"""Weights on disk → networks ready to run: explicit classes, local files, safetensors, every tensor checked.

Each network is built without memory for its weights, compared with what the file headers announce,
and only then filled: a damaged or foreign file is refused before anything of it is used.

The classes come from their own modules. It makes little difference: of the 4.3 s of CPU time that they
take to import, diffusers' base modules with torch's compiler are 1.8, torch itself 1.3; the whole
`PixArtSigmaPipeline` would add 0.3.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import SafetensorError, safe_open
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.configuration import check_config, check_model_index, check_scheduler, overlay
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.finite import is_finite
from pixart_cli.diffusion.header import damaged, read_header
from pixart_cli.diffusion.lora_merge import Change, merged
from pixart_cli.diffusion.memory import return_unused
from pixart_cli.diffusion.part_files import read_json, weight_files
from pixart_cli.diffusion.quantisation import quantised_encoder
from pixart_cli.diffusion.tensor_table import TIED, compare, modern, read_headers
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from pixart_cli.diffusion.weights import Installed

_BUILDERS: Final[Mapping[str, Callable[[dict[str, Any]], torch.nn.Module]]] = {
    "text_encoder": lambda config: T5EncoderModel(T5Config.from_dict(config)),
    "vae": AutoencoderKL.from_config,
    "transformer": PixArtSigmaTransformer2DModel.from_config,
}


class Components:
    """The five parts of one model. Networks are loaded when first asked for, and can be freed.

    Attributes:
        tokenizer: the T5 tokenizer.
        scheduler_config: the model's own scheduler settings.
    """

    def __init__(self, installed: Installed, plan: MemoryPlan) -> None:
        self.installed = installed
        self._changes: tuple[Change, ...] = ()
        self.plan = plan
        self.tokenizer = _load_tokenizer(installed.parts["tokenizer"])
        schedule = installed.parts["scheduler"] / "scheduler_config.json"
        self.scheduler_config = read_json(schedule)
        check_scheduler(schedule, self.scheduler_config)
        self._networks: dict[str, torch.nn.Module] = {}

    @property
    def text_encoder(self) -> T5EncoderModel:
        """The T5 encoder."""
        return self._get("text_encoder")

    @property
    def vae(self) -> AutoencoderKL:
        """The autoencoder, on the processor in float32 where memory is scarcest."""
        return self._get("vae")

    @property
    def transformer(self) -> PixArtSigmaTransformer2DModel:
        """The denoiser, compressed where its weights were trained so."""
        network: PixArtSigmaTransformer2DModel = self._get("transformer")
        return network

    def adapt(self, changes: tuple[Change, ...]) -> None:
        """Let the transformer be the one with these LoRAs merged in; another that is loaded is freed."""
        if changes != self._changes:
            self.free("transformer")
            self._changes = changes

    def is_loaded(self, name: str) -> bool:
        """Whether the network `name` is in memory."""
        return name in self._networks

    def free(self, *names: str) -> None:
        """Give back the memory of these networks."""
        for name in names:
            self._networks.pop(name, None)
        gc.collect()
        return_unused(self.plan.device)

    def _get(self, name: str) -> Any:
        if name not in self._networks:
            self._networks[name] = self._load(name)
        return self._networks[name]

    def _load(self, name: str) -> Any:
        folder, plan, spec = self.installed.parts[name], self.plan, self.installed.spec
        if name == "text_encoder" and plan.encoder_bits != UNQUANTISED:
            return load_quantised(folder, plan)
        stays = name == "text_encoder" and plan.streams_encoder
        return load_network(
            name, folder, spec=spec,
            dtype=None if stays else dtype_for(name, folder, plan),
            device=plan.device if plan.offload == "full" and not stays else "cpu",
            changes=self._changes if name == "transformer" else (),
        )  # fmt: skip


def load(installed: Installed, plan: MemoryPlan) -> Components:
    """The components of `installed`, checked, for use under `plan`.

    Raises:
        PixartError: "weights-invalid" when a class, a configuration or a file is not what it should be.
    """
    index = installed.parts["transformer"].parent / "model_index.json"
    if index.is_file():
        check_model_index(index)
    return Components(installed, plan)


def _load_tokenizer(folder: Path) -> T5Tokenizer:
    try:
        tokenizer: T5Tokenizer = T5Tokenizer.from_pretrained(str(folder), local_files_only=True)
    # The tokenizers library raises bare Exception for a damaged file.
    except Exception as error:
        raise damaged(folder, f"the tokenizer cannot be read ({type(error).__name__})") from error
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or length < 1:
        raise damaged(folder, f"its model_max_length cannot be {str(length)[:60]}")
    return tokenizer


def dtype_for(name: str, folder: Path, plan: MemoryPlan) -> torch.dtype:
    """The precision of the network `name` in `folder`: the plan's, with exceptions.

    float16 overflows in the SDXL VAE (diffusers' `force_upcast`), so that decodes in float32. With the
    least memory the VAE works on the processor in float32, and on a machine without accelerator weights
    keep their file's precision: then they stay mapped from the disk and take no memory of their own.
    """
    if name == "vae" and (plan.offload == "low" or plan.dtype == "float16"):
        return torch.float32
    if plan.on_cpu and plan.offload == "low":
        stored = {entry.dtype for path in weight_files(folder) for entry in read_header(path).values()}
        return torch.bfloat16 if stored == {"BF16"} else torch.float32
    dtype: torch.dtype = getattr(torch, plan.dtype)
    return dtype


def load_network(
    name: str,
    folder: Path,
    *,
    spec: ModelSpec,
    dtype: torch.dtype | None,
    device: str = "cpu",
    changes: Sequence[Change] = (),
) -> torch.nn.Module:
    """The network `name` ("text_encoder", "vae" or "transformer") from `folder`, for inference.

    `changes` are merged into its weights. With None for `dtype`, and on the CPU, weights that are not
    changed stay mapped from the file and take no memory.

    Raises:
        PixartError: "weights-invalid" naming the file and what is missing, extra, misshapen or not finite.
    """
    model = _empty(name, folder, spec if name == "transformer" else None)
    state = _state(name, folder, dtype=dtype, device=device, changes=changes)
    model.load_state_dict(state, assign=True)
    # What is left are buffers that are computed, not stored.
    model.to(device).eval().requires_grad_(requires_grad=False)
    return model


def load_quantised(folder: Path, plan: MemoryPlan) -> T5EncoderModel:
    """The text encoder from `folder` on the plan's device, in as many bits as the plan says, for inference.

    Its files stay mapped while one tensor after another is read, quantised and forgotten.

    Raises:
        PixartError: as :func:`load_network`.
    """
    config: Any = _empty("text_encoder", folder, None).config
    state = _state("text_encoder", folder, dtype=None)
    dtype = dtype_for("text_encoder", folder, plan)
    return quantised_encoder(config, state, bits=plan.encoder_bits, dtype=dtype, device=plan.device)


def _empty(name: str, folder: Path, spec: ModelSpec | None) -> torch.nn.Module:
    """The network `name` without memory for its weights, which the files in `folder` fit.

    Raises:
        PixartError: "weights-invalid".
    """
    config = read_json(folder / "config.json")
    header = read_headers(folder, name)
    check_config(name, folder, config, header)
    # The constructors draw starting weights that are never used: the caller's random state is not theirs.
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        model = _build(name, folder, config if spec is None else overlay(config, spec))
    compare(folder, header, {key: tuple(value.shape) for key, value in model.state_dict().items()})
    return model


def _state(
    name: str,
    folder: Path,
    *,
    dtype: torch.dtype | None,
    device: str = "cpu",
    changes: Sequence[Change] = (),
) -> dict[str, torch.Tensor]:
    """All tensors of the network `name` by its own names for them; see :func:`load_network`."""
    state = read_tensors(
        folder,
        rename=lambda key: modern(key, name),
        dtype_of=lambda key, stored: stored if dtype is None else kept_dtype(name, key, dtype),
        device=device,
        changes=changes,
    )
    if name == "text_encoder":
        shared = next(state[key] for key in TIED if key in state)
        state |= dict.fromkeys(TIED, shared)
    return state


def _build(name: str, folder: Path, config: dict[str, Any]) -> torch.nn.Module:
    try:
        return _BUILDERS[name](config)
    # Whatever a wrong configuration makes the libraries raise, the configuration is what is wrong.
    except Exception as error:
        raise damaged(folder / "config.json", f"no {name} can be built from it ({error})") from error


def read_tensors(
    folder: Path,
    *,
    rename: Callable[[str], str],
    dtype_of: Callable[[str, torch.dtype], torch.dtype],
    device: str,
    changes: Sequence[Change] = (),
) -> dict[str, torch.Tensor]:
    """The tensors of a component's files by what `rename` calls them; "" leaves one out.

    Args:
        dtype_of: the precision for a tensor's name in the file and the precision it has there.
        changes: what is merged into them.

    Raises:
        PixartError: "weights-invalid" for a damaged file or numbers that are not finite, "disk".
    """
    state: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for key in file.keys():  # noqa: SIM118 - a handle, not a dictionary
                    if not (name := rename(key)):
                        continue
                    tensor = file.get_tensor(key)
                    _check_finite(path, key, tensor)
                    tensor = merged(key, tensor, changes)
                    state[name] = tensor.to(device=device, dtype=dtype_of(key, tensor.dtype))
        except SafetensorError as error:
            raise damaged(path, str(error)) from error
        except OSError as error:
            raise PixartError("disk", f"cannot read {path}: {error.strerror or error}") from error
    return state


def kept_dtype(name: str, key: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of the weight `key` where its network `name` works in `dtype`.

    T5's output projections overflow in float16: they stay in float32, as transformers keeps them.
    """
    inside = name == "text_encoder" and ".wo." in key and dtype is torch.float16
    return torch.float32 if inside else dtype


def _check_finite(path: Path, key: str, tensor: torch.Tensor) -> None:
    if not is_finite(tensor):
        raise damaged(path, f"tensor {key!r} holds NaN or infinity")
