"""A checkpoint's tensors and what was said of them → the transformer's folder in diffusers' layout.

What leaves no trace in the tensors (the trained size, heads, compression without weights) is said, or told
by the name of a released file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.checkpoint import Anatomy, State, check_shapes, to_diffusers, unfit
from pixart_cli.diffusion.configuration import model_index
from pixart_cli.diffusion.finite import is_finite
from pixart_cli.diffusion.objective import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS
from pixart_cli.diffusion.tensor_file import save_tensors
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_VAE_SCALE: Final = 8
_HEAD_WIDTH: Final = 72
_ALPHA_TOKENS: Final = 120
_SIGMA_TOKENS: Final = 300
# The files of PixArt-alpha/PixArt-alpha and PixArt-alpha/PixArt-Sigma on the hub.
_RELEASED: Final[Mapping[str, tuple[str, int]]] = {
    "PixArt-Sigma-XL-2-256x256": ("sigma", 256),
    "PixArt-Sigma-XL-2-512-MS": ("sigma", 512),
    "PixArt-Sigma-XL-2-1024-MS": ("sigma", 1024),
    "PixArt-Sigma-XL-2-2K-MS": ("sigma", 2048),
    "PixArt-XL-2-256x256": ("alpha", 256),
    "PixArt-XL-2-SAM-256x256": ("alpha", 256),
    "PixArt-XL-2-512x512": ("alpha", 512),
    "PixArt-XL-2-1024-MS": ("alpha", 1024),
}
_PIPELINES: Final = {"sigma": "PixArtSigmaPipeline", "alpha": "PixArtAlphaPipeline"}
_SCHEDULER: Final = {
    "_class_name": "DPMSolverMultistepScheduler",
    "_diffusers_version": "0.42.0",
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "linear",
    "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
    "prediction_type": "epsilon",
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which model a checkpoint is: "sigma" or "alpha", trained at `image_size` pixels a side.

    `remarks` are what was taken for granted, or speaks against it.
    """

    family: str
    image_size: int
    interpolation_scale: float
    remarks: tuple[str, ...] = ()

    @property
    def sample_size(self) -> int:
        """The side in latent pixels."""
        return self.image_size // _VAE_SCALE


def identify(path: Path, anatomy: Anatomy, *, family: str | None, image_size: int | None) -> Identity:
    """Which model the checkpoint `path` is: as said, else as its name says, else as its tensors do.

    Raises:
        PixartError: "request-invalid" when none says the size, or it cannot be one.
    """
    remarks = []
    released = _RELEASED.get(path.stem)
    kind = family or (released[0] if released else _family_by_tensors(anatomy))
    if kind is None:
        remarks.append(
            "nothing tells whether this is PixArt-α or Σ: taken for Σ; --family alpha if it is not"
        )
    stored = anatomy.tokens_per_side and anatomy.tokens_per_side * anatomy.patch_size * _VAE_SCALE
    size = image_size or (released[1] if released else stored)
    _check_size(path, size, anatomy)
    assert size is not None  # noqa: S101 -- for the type checker
    scale = usual = usual_scale(kind or "sigma", size)
    if stored and stored != size:
        remarks.append(f"its position embedding is one of {stored} px; it is used at {size} px as was said")
    elif stored and released is None and anatomy.interpolation_scale not in (None, usual):
        scale = anatomy.interpolation_scale or usual
        remarks.append(f"its position embedding has the scale {scale:g}, which is used; usual is {usual:g}")
    return Identity(
        family=kind or "sigma", image_size=size, interpolation_scale=scale, remarks=tuple(remarks)
    )


def usual_scale(family: str, image_size: int) -> float:
    """The interpolation scale of the position embedding: so many trained sizes of 512 px is `image_size`.

    Σ spans one range of positions at every size, so that 256 px have half of 512's (arXiv 2403.04692,
    section 3.3); α began at 256 px with whole steps.
    """
    return max(image_size / 512, 1.0) if family == "alpha" else image_size / 512


def _family_by_tensors(anatomy: Anatomy) -> str | None:
    if anatomy.micro_conditions or anatomy.caption_tokens == _ALPHA_TOKENS:
        return "alpha"
    return "sigma" if anatomy.caption_tokens == _SIGMA_TOKENS else None


def _check_size(path: Path, size: int | None, anatomy: Anatomy) -> None:
    if size is None:
        hint = "Say it with --image-size 256, 512, 1024, 2048 or 4096."
        raise PixartError("request-invalid", f"{path} does not tell the size it was trained at", hint)
    step = _VAE_SCALE * anatomy.patch_size
    if size % step or not step <= size <= 8192:
        raise PixartError(
            "request-invalid", f"no model is trained at {size} px", f"Take a multiple of {step}."
        )


def heads_of(anatomy: Anatomy, num_heads: int | None) -> int:
    """The attention heads, 72 wide each unless their number is said.

    Raises:
        PixartError: "request-invalid" when the width cannot be shared out so.
    """
    heads = num_heads or anatomy.width // _HEAD_WIDTH
    if not heads or anatomy.width % heads or (num_heads is None and anatomy.width % _HEAD_WIDTH):
        shares = f"{num_heads} heads" if num_heads else f"heads {_HEAD_WIDTH} wide"
        what = f"the width of {anatomy.width} is not shared out over {shares}"
        raise PixartError("request-invalid", what, "Say how many there are with --num-heads.")
    return heads


def compression_of(anatomy: Anatomy, said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`kv_compression` for config.json from what the tensors show and what was `said`; None for none.

    Raises:
        PixartError: "request-invalid" when the two differ, or a layer is none.
    """
    shown = None
    if anatomy.conv_layers:
        shown = {"sampling": "conv", "ratio": anatomy.conv_ratio, "layers": list(anatomy.conv_layers)}
    if said is not None:
        _check_said(anatomy, said, shown)
    found = shown or said
    if found is None and not anatomy.qk_norm:
        return None
    return {**(found or {"sampling": "conv", "ratio": 1, "layers": []}), "qk_norm": anatomy.qk_norm}


def _check_said(anatomy: Anatomy, said: Mapping[str, Any], shown: Mapping[str, Any] | None) -> None:
    if max(said["layers"]) >= anatomy.depth:
        what = f"there is no layer {max(said['layers'])}: the last is {anatomy.depth - 1}"
        raise PixartError("request-invalid", what, "Name layers of this checkpoint.")
    if shown is not None and shown != said:
        layers = ",".join(map(str, shown["layers"]))
        what = f"the tensors show another compression: conv:{shown['ratio']}:{layers}"
        raise PixartError("request-invalid", what, "Leave out --kv-compression.")
    if shown is None and said["sampling"] == "conv":
        what = "the checkpoint holds no convolutions that compress"
        raise PixartError("request-invalid", what, "Leave out --kv-compression, or name another sampling.")


def network_config(
    anatomy: Anatomy, identity: Identity, heads: int, compression: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is not as the class has it: the transformer's configuration."""
    config: dict[str, Any] = {
        "num_attention_heads": heads,
        "attention_head_dim": anatomy.width // heads,
        "in_channels": anatomy.in_channels,
        "out_channels": anatomy.out_channels,
        "num_layers": anatomy.depth,
        "cross_attention_dim": anatomy.width,
        "caption_channels": anatomy.caption_channels,
        "patch_size": anatomy.patch_size,
        "sample_size": identity.sample_size,
        "interpolation_scale": identity.interpolation_scale,
        "use_additional_conditions": anatomy.micro_conditions,
    }
    return config if compression is None else config | {"kv_compression": compression}


def build(path: Path, state: State, anatomy: Anatomy, config: Mapping[str, Any]) -> PixArtTransformer2DModel:
    """The network of `config` without memory for its weights; `state` fits it to the last tensor.

    Without compression it is diffusers' own class, so that other programs load it, too.

    Raises:
        PixartError: "weights-invalid" when no network can be built, or tensors have another shape.
    """
    ours = "kv_compression" in config
    cls = PixArtSigmaTransformer2DModel if ours else PixArtTransformer2DModel
    if anatomy.width % 4 or (anatomy.micro_conditions and anatomy.width % 3):
        raise unfit(path, f"a network {anatomy.width} wide cannot be built")
    try:
        with torch.device("meta"):
            model = cls.from_config(dict(config))
    # Whatever strange numbers make the libraries raise, the file they were read from is what is wrong.
    except Exception as error:
        raise unfit(path, f"no network can be built from it ({error})") from error
    check_shapes(path, state, anatomy, {key: value.shape for key, value in model.state_dict().items()})
    return model


def write_model(
    folder: Path, model: PixArtTransformer2DModel, state: State, anatomy: Anatomy, *, family: str
) -> None:
    """`folder` with transformer, scheduler and model_index.json; the shared parts are not among them.

    Raises:
        OSError: what the disk says.
    """
    (folder / "transformer").mkdir()
    (folder / "scheduler").mkdir()
    (folder / "transformer" / "config.json").write_text(model.to_json_string(), encoding="utf-8")
    _write_json(folder / "scheduler" / "scheduler_config.json", _SCHEDULER)
    _write_json(folder / "model_index.json", _index(family, type(model)))
    save_tensors(to_diffusers(state, anatomy), folder / "transformer" / WEIGHTS)


def _index(family: str, cls: type) -> dict[str, Any]:
    library = "pixart_cli" if cls is PixArtSigmaTransformer2DModel else "diffusers"
    return model_index(_PIPELINES[family], (library, cls.__name__))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def in_dtype(path: Path, state: State, dtype: str | None) -> dict[str, torch.Tensor]:
    """`state` in another precision, or as it is for None.

    Raises:
        PixartError: "request-invalid" when a number is too large for it.
    """
    if dtype is None:
        return dict(state)
    wanted: torch.dtype = getattr(torch, dtype)
    found = {}
    for key, value in state.items():
        found[key] = value.to(wanted)
        if not is_finite(found[key]):
            what = f"{path}: {key[:80]} holds numbers that are too large for {dtype}"
            raise PixartError("request-invalid", what, "Take bfloat16, or leave out --dtype.")
    return found
