"""LoRAs merged into a transformer's weights while they are read: W + Σ scale · alpha / rank · up · down.

In float32, whatever the precision that the sum is then rounded to. Afterwards they cost nothing, and every
memory plan works as without them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import Recorded
from pixart_cli.diffusion.header import TensorEntry, read_header
from pixart_cli.diffusion.lora import Layer, layers_of
from pixart_cli.diffusion.lora_file import LoraFile, hash_of
from pixart_cli.diffusion.part_files import read_json

# What diffusers stores in the header of a file of its own: peft's configuration, each key with a prefix.
_STORED: Final = "lora_adapter_metadata"
_PLAIN: Final = re.compile(r"\^?[\w.\\]+\$?")
_PREFIX: Final = "transformer."
# Ways to begin that also change the weights of the model, which this file does not hold.
_CHANGED_BASE: Final = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class Change:
    """A LoRA fitted to one transformer: its layers by the key of the weight, and what says their alpha."""

    file: LoraFile
    layers: Mapping[str, Layer]
    config: Mapping[str, Any]

    def of(self, key: str) -> torch.Tensor | None:
        """What is added to the weight `key`, (out, in) float32; None where nothing is.

        Raises:
            PixartError: "weights-invalid" when a tensor is not finite, or the file cannot be read.
        """
        layer = self.layers.get(key)
        if layer is None:
            return None
        try:
            with safe_open(self.file.path, framework="pt", device="cpu") as file:
                down, up = (file.get_tensor(name).float() for name in (layer.down, layer.up))
                alpha = self._alpha(layer) if layer.alpha is None else float(file.get_tensor(layer.alpha))
        except (SafetensorError, OSError) as error:
            raise _refused(self.file.name, f"it cannot be read: {error}") from error
        factor = self.file.recorded.scale * alpha / self._divisor(layer)
        change: torch.Tensor = (up.flatten(1) @ down.flatten(1)) * factor
        if not torch.isfinite(change).all():
            raise _refused(self.file.name, f"what it adds to {key} is not finite")
        return change

    def _alpha(self, layer: Layer) -> float:
        """alpha as peft's configuration says it, for this layer or for all; the rank where nothing does."""
        for pattern, value in self.config.get("alpha_pattern", {}).items():
            if re.match(rf"(.*\.)?({pattern})$", layer.module):
                return float(value)
        return float(self.config.get("lora_alpha", layer.rank))

    def _divisor(self, layer: Layer) -> float:
        """The rank, or its root where the LoRA is rank-stabilised (Kalajdzievski 2023, arXiv 2312.03732)."""
        return math.sqrt(layer.rank) if self.config.get("use_rslora") else float(layer.rank)

    def to_dict(self) -> dict[str, Any]:
        """For the record of a picture."""
        return {
            "sha256": self.file.recorded.sha256,
            "scale": self.file.recorded.scale,
            "layers": len(self.layers),
        }


def fit(lora: LoraFile, model: Mapping[str, TensorEntry]) -> Change:
    """`lora` as a change to the transformer whose tensors are `model`.

    Raises:
        PixartError: "weights-invalid" when it does not fit, or is not the file that was asked for.
    """
    layers = layers_of(lora.name, read_header(lora.path), model)
    if hash_of(lora.path) != lora.recorded.sha256:
        raise _refused(lora.name, "it was changed since it was asked for")
    return Change(lora, layers, _config(lora))


def merged(key: str, weight: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """`weight`, or in float32 the sum of it and what `changes` add to the key `key`."""
    added = [change for each in changes if (change := each.of(key)) is not None]
    if not added:
        return weight
    return sum((each.reshape(weight.shape) for each in added), start=weight.float())


def recorded_files(loras: Sequence[Recorded], files: Mapping[str, Path]) -> tuple[LoraFile, ...]:
    """The files of `loras`, of those at hand by their hash.

    Raises:
        PixartError: "lora-missing" naming the hash of one that is not.
    """
    return tuple(_recorded_file(each, files) for each in loras)


def _recorded_file(lora: Recorded, files: Mapping[str, Path]) -> LoraFile:
    path = files.get(lora.sha256)
    if path is None or not path.is_file():
        what = f"the LoRA with the sha256 {lora.sha256} is not at hand"
        raise PixartError("lora-missing", what, "Name its file with --lora.")
    return LoraFile(path.name, path, lora)


def _config(lora: LoraFile) -> Mapping[str, Any]:
    """peft's configuration: a file beside the weights, or what diffusers stored in their header."""
    config = _stored(lora.path) if lora.config is None else read_json(lora.config)
    if (kind := config.get("peft_type", "LORA")) != "LORA" or config.get("use_dora"):
        raise _refused(lora.name, f"it is {'DoRA' if config.get('use_dora') else str(kind)[:40]}, not LoRA")
    begun = str(config.get("init_lora_weights", "")).lower()
    if begun.startswith(_CHANGED_BASE):
        raise _refused(lora.name, f"it was begun by {begun[:40]}, which changes the model's own weights too")
    alphas = [config.get("lora_alpha", 1), *_patterns(lora, config).values()]
    if not all(_is_number(alpha) for alpha in alphas):
        raise _refused(lora.name, "its configuration's alpha is no number")
    return config


def _patterns(lora: LoraFile, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """alpha by names of layers, regular expressions as peft reads them: only plain ones are taken."""
    patterns = config.get("alpha_pattern", {})
    if not isinstance(patterns, dict) or not all(_PLAIN.fullmatch(each) for each in patterns):
        raise _refused(lora.name, "its configuration's alpha_pattern is not to be understood")
    return patterns


def _stored(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            values = json.loads((file.metadata() or {}).get(_STORED, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {key.removeprefix(_PREFIX): value for key, value in values.items() if key.startswith(_PREFIX)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _refused(name: str, why: str) -> PixartError:
    return PixartError("weights-invalid", f"LoRA {name}: {why}", "Use another LoRA, or leave it out.")
