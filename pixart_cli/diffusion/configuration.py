"""What a model folder's JSON may say: known classes only, and sizes that its weights bear out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import TensorEntry, damaged
from pixart_cli.diffusion.part_files import read_json

_PIPELINES: Final = frozenset({"PixArtSigmaPipeline", "PixArtAlphaPipeline"})
_CLASSES: Final[Mapping[str, Mapping[str, str]]] = {
    "tokenizer": dict.fromkeys(("T5Tokenizer", "T5TokenizerFast"), "transformers"),
    "text_encoder": {"T5EncoderModel": "transformers"},
    "vae": {"AutoencoderKL": "diffusers"},
    "transformer": {
        "PixArtTransformer2DModel": "diffusers",
        # The released α and Σ configurations carry the class's older name.
        "Transformer2DModel": "diffusers",
        "PixArtSigmaTransformer2DModel": "pixart_cli",
    },
    "scheduler": dict.fromkeys(
        (
            "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
            "DDIMScheduler", "DDPMScheduler", "UniPCMultistepScheduler", "LCMScheduler",
        ),
        "diffusers",
    ),
}  # fmt: skip
"""The classes that a component may be of, and each one's library."""

_BLOCKS: Final = {
    "text_encoder": ("num_layers", re.compile(r"encoder\.block\.(\d+)\.")),
    "transformer": ("num_layers", re.compile(r"transformer_blocks\.(\d+)\.")),
}
_SIZES: Final = {
    "text_encoder": ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads", "relative_attention_num_buckets"),
    "transformer": (
        "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "cross_attention_dim",
        "caption_channels", "patch_size",
    ),
    "vae": ("latent_channels", "in_channels", "out_channels"),
}  # fmt: skip
_HEADS: Final = {
    "text_encoder": ("num_heads", "d_kv"),
    "transformer": ("num_attention_heads", "attention_head_dim"),
}
_INTEGERS: Final = frozenset({"I8", "U8", "I16", "I32", "I64"})
_MAX_VAE_LAYERS: Final = 8
_MAX_SIDE: Final = 1024
_SCHEDULE_NUMBERS: Final = {
    "beta_start": (0.0, 1.0),
    "beta_end": (0.0, 1.0),
    "num_train_timesteps": (1, 100_000),
    "steps_offset": (0, 1000),
    "scaler": (0.01, 100.0),
    "s": (0.0, 1.0),
}
_SCHEDULE_WORDS: Final = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "timestep_spacing": ("linspace", "leading", "trailing"),
}


def model_index(pipeline: str, transformer: tuple[str, str]) -> dict[str, Any]:
    """model_index.json of a folder written here; `transformer` is the library and the name of its class."""
    return {
        "_class_name": pipeline,
        "_diffusers_version": "0.42.0",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": list(transformer),
        "vae": ["diffusers", "AutoencoderKL"],
    }


def check_model_index(path: Path) -> None:
    """Refuse a pipeline, library or class that is not in the table: names decide what code runs.

    Raises:
        PixartError: "weights-invalid" naming the entry.
    """
    index = read_json(path)
    if str(index.get("_class_name")) not in _PIPELINES:
        raise damaged(path, f"its pipeline {str(index.get('_class_name'))[:60]!r} is not PixArt's")
    for component, classes in _CLASSES.items():
        entry = index.get(component)
        pairs = [[library, name] for name, library in classes.items()]
        # The 2K repository and its like leave parts out: these come from elsewhere.
        if entry not in (*pairs, None, [None, None]):
            raise damaged(path, f"its {component} is {str(entry)[:80]}, not of a known class")


def check_config(
    component: str, folder: Path, config: Mapping[str, Any], header: Mapping[str, TensorEntry]
) -> None:
    """Refuse a configuration that would build more than the weights hold, before it is built.

    Raises:
        PixartError: "weights-invalid".
    """
    path = folder / "config.json"
    _check_quantised(path, config, header)
    _check_sizes(component, path, config, header)
    name = config.get("_class_name")
    if name is not None and str(name) not in _CLASSES[component]:
        raise damaged(path, f"its class {str(name)[:60]!r} is not known")
    if component in _BLOCKS:
        key, pattern = _BLOCKS[component]
        blocks = len({match[1] for tensor in header if (match := pattern.match(tensor))})
        if config.get(key) != blocks:
            raise damaged(path, f"{key} is {config.get(key)!r}, but the weights hold {blocks}")
    for key in ("layers_per_block", "norm_num_groups", "sample_size"):
        limit = _MAX_VAE_LAYERS if key == "layers_per_block" else _MAX_SIDE * 8
        value = config.get(key)
        if value is not None and not (isinstance(value, int) and 0 < value <= limit):
            raise damaged(path, f"{key} cannot be {value!r}")
    channels = config.get("block_out_channels")
    if channels is not None and not (isinstance(channels, list) and 0 < len(channels) <= _MAX_VAE_LAYERS):
        raise damaged(path, f"block_out_channels cannot be {str(channels)[:60]}")
    if component == "vae":
        _check_scaling(path, config)


def _check_quantised(path: Path, config: Mapping[str, Any], header: Mapping[str, TensorEntry]) -> None:
    """No loader here reads weights that were stored as integers with their scales beside."""
    method = config.get("quantization_config")
    if method is None and not any(entry.dtype in _INTEGERS for entry in header.values()):
        return
    known = str(method.get("quant_method", "")) if isinstance(method, Mapping) else ""
    what = f"{path}: its weights are quantised on the disk{f' ({known[:40]})' if known else ''}"
    hint = "Take the published weights; --encoder-bits 8 or 4 quantises a text encoder while it is read."
    raise PixartError("weights-invalid", what, hint)


def _check_scaling(path: Path, config: Mapping[str, Any]) -> None:
    """The two numbers between the VAE's latents and the transformer's."""
    if not _is_number(config.get("scaling_factor", 1.0), 1e-6, 1e6):
        raise damaged(path, f"scaling_factor cannot be {str(config['scaling_factor'])[:60]}")
    shift = config.get("shift_factor")
    if shift is not None and not _is_number(shift, -1e6, 1e6):
        raise damaged(path, f"shift_factor cannot be {str(shift)[:60]}")


def _check_sizes(
    component: str, path: Path, config: Mapping[str, Any], header: Mapping[str, TensorEntry]
) -> None:
    """No layer is wider than the widest tensor: the libraries give it memory before it can be compared."""
    widest = max((side for entry in header.values() if entry.parameters for side in entry.shape), default=0)
    sizes = {key: config[key] for key in _SIZES.get(component, ()) if isinstance(config.get(key), int)}
    channels = config.get("block_out_channels") if component == "vae" else None
    if isinstance(channels, list):
        sizes |= {f"block_out_channels[{i}]": side for i, side in enumerate(channels) if type(side) is int}
    heads = [sizes.get(key, 0) for key in _HEADS.get(component, ())]
    if heads:
        sizes[" x ".join(_HEADS[component])] = math.prod(heads)
    for key, size in sizes.items():
        if size > widest:
            raise damaged(path, f"{key} is {size:.12g}, but the weights' widest tensor is {widest}")


def check_scheduler(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a noise schedule that no scheduler can be built from.

    Raises:
        PixartError: "weights-invalid" naming the key.
    """
    for key, (least, most) in _SCHEDULE_NUMBERS.items():
        if key in config and not _is_number(config[key], least, most):
            raise damaged(path, f"{key} cannot be {str(config[key])[:60]}")
    for key, words in _SCHEDULE_WORDS.items():
        if config.get(key, words[0]) not in words:
            raise damaged(path, f"{key} cannot be {str(config[key])[:60]}")
    betas = config.get("trained_betas")
    if betas is not None and not (isinstance(betas, list) and all(_is_number(b, 0, 1) for b in betas)):
        raise damaged(path, f"trained_betas cannot be {str(betas)[:60]}")


def _is_number(value: Any, least: float, most: float) -> bool:
    """Whether `value` is a number from `least` to `most`; NaN is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def overlay(config: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """The transformer's `config` with what the catalogue knows better.

    diffusers fills in 1 for the interpolation scale of the 256 model where 0.5 is right, and turns
    α's micro-conditions on wherever the sample size is 128: the catalogue's values replace both.

    Raises:
        PixartError: "weights-invalid" when the sample size is another model's.
    """
    wanted = spec.transformer_config.get("sample_size")
    if wanted is not None and config.get("sample_size") != wanted:
        raise damaged(
            Path(spec.name), f"its sample_size is {config.get('sample_size')!r}, that of {spec.name} {wanted}"
        )
    return {**config, **spec.transformer_config}
