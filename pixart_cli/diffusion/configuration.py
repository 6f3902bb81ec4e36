"""What a model folder's JSON may say: known classes only, and sizes that its weights bear out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.diffusion.header import TensorEntry, damaged
from pixart_cli.diffusion.weights import read_json

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
_MAX_VAE_LAYERS: Final = 8
_MAX_SIDE: Final = 1024


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
