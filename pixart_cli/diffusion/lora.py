"""What a LoRA holds, and which weights of a transformer it changes: from headers, before anything is loaded.

One layer changes a weight W (out, in) by scale · alpha / rank · up · down, with down (rank, in) and up
(out, rank): Hu et al. 2021, arXiv 2106.09685, section 4.1. Three spellings of its tensors' names are known:

=========  ==================================================================================
peft       ``base_model.model.transformer_blocks.0.attn1.to_q.lora_A.weight``, ``lora_B``
diffusers  ``transformer.transformer_blocks.0.attn1.to_q.lora_A.weight`` or ``.lora.down.weight``
kohya      ``lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight``, ``lora_up``, ``.alpha``
=========  ==================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import TensorEntry

_KEY: Final = re.compile(
    r"(?P<module>.+?)\.(?:(?P<down>lora_A|lora_down|lora\.down|lora_linear_layer\.down)"
    r"|(?P<up>lora_B|lora_up|lora\.up|lora_linear_layer\.up))(?:\.default)?\.weight"
    r"|(?P<scaled>.+)\.(?P<alpha>alpha)"
)
_PREFIXES: Final = (
    "base_model_model_", "transformer_", "diffusion_model_", "lora_unet_", "lora_transformer_", "lycoris_",
)  # fmt: skip
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
# Kinds of changes that are not these two matrices, by what their tensors' names hold.
_OTHER_KINDS: Final = {
    "lora_magnitude_vector": "DoRA", "dora_scale": "DoRA", "hada_w": "LoHa", "lokr_w": "LoKr",
    "lora_mid": "Tucker-decomposed LoCon", "oft_": "OFT", "ia3_": "IA³", "vera_": "VeRA",
}  # fmt: skip
_TEXT_ENCODER: Final = re.compile(r"(?:base_model\.model\.)?(?:text_encoder|lora_te)")
_OTHER_NETWORK: Final = "It was made for another network: look which model it names, or leave it out."


@dataclass(frozen=True)
class Layer:
    """The change to one weight: names of its tensors in the file, and its rank. `module` as in the model."""

    module: str
    down: str
    up: str
    alpha: str | None
    rank: int


def layers_of(
    name: str, lora: Mapping[str, TensorEntry], model: Mapping[str, TensorEntry]
) -> dict[str, Layer]:
    """The layers of the LoRA called `name`, by the key of the weight of `model` that each changes.

    Args:
        name: for messages.
        lora: the tensors of its file.
        model: the tensors of the transformer.

    Raises:
        PixartError: "weights-invalid" when it is of another kind, matches nothing, is not whole or misshapen.
    """
    _refuse_other_kinds(name, lora)
    targets = {key.removesuffix(".weight").replace(".", "_"): key for key in model if _is_matrix(key, model)}
    parts: dict[str, dict[str, str]] = {}
    strange = []
    for key in lora:
        target, part = _target(key, targets)
        if target is None or part in parts.setdefault(target, {}):
            strange.append(key)
        else:
            parts[target][part] = key
    if strange or not parts:
        raise _unmatched(name, strange)
    return {key: _layer(name, key, found, lora, model[key]) for key, found in parts.items()}


def _is_matrix(key: str, model: Mapping[str, TensorEntry]) -> bool:
    return key.endswith(".weight") and len(model[key].shape) in (2, 4)


def _refuse_other_kinds(name: str, keys: Iterable[str]) -> None:
    for key in keys:
        for sign, kind in _OTHER_KINDS.items():
            if sign in key:
                what = f"LoRA {name}: it is {kind} (its tensor {key[:80]!r}), which pixart cannot merge"
                raise PixartError(
                    "weights-invalid", what, "Plain LoRA is two matrices a layer; use such a one."
                )
        if _TEXT_ENCODER.match(key):
            what = f"LoRA {name}: it changes a text encoder as well (its tensor {key[:80]!r})"
            raise PixartError("weights-invalid", what, "Only layers of the transformer can be merged.")


def _target(key: str, targets: Mapping[str, str]) -> tuple[str | None, str]:
    """(the weight that tensor `key` belongs to, and whether it is its "down", "up" or "alpha")."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None, ""
    part = match["alpha"] or ("down" if match["down"] else "up")
    module = (match["module"] or match["scaled"]).replace(".", "_")
    names = [module]
    for prefix in _PREFIXES:
        names += [each.removeprefix(prefix) for each in names if each.startswith(prefix)]
    return next((targets[each] for each in names if each in targets), None), part


def _unmatched(name: str, keys: list[str]) -> PixartError:
    if not keys:
        return PixartError("weights-invalid", f"LoRA {name}: it holds no layers", "Name another file.")
    shown = ", ".join(key[:100] for key in keys[:3]) + (" …" if len(keys) > 3 else "")
    what = f"LoRA {name}: {len(keys)} of its tensors match nothing in this model: {shown}"
    return PixartError("weights-invalid", what, _OTHER_NETWORK)


def _layer(
    name: str, key: str, parts: Mapping[str, str], lora: Mapping[str, TensorEntry], weight: TensorEntry
) -> Layer:
    missing = [part for part in ("down", "up") if part not in parts]
    if missing:
        what = f"LoRA {name}: the {missing[0]} matrix of {key} is missing"
        raise PixartError("weights-invalid", what, "The file is not whole: fetch it again.")
    down, up = (lora[parts[part]] for part in ("down", "up"))
    alpha = lora[parts["alpha"]] if "alpha" in parts else None
    rank = down.shape[0] if down.shape else 0
    into, out = math.prod(weight.shape[1:]), weight.shape[0]
    fits = rank > 0 and down.parameters == rank * into and up.shape[:1] == (out,)
    if not fits or up.parameters != out * rank:
        shapes = " and ".join("x".join(map(str, entry.shape)) for entry in (up, down))
        what = f"LoRA {name}: {key} is {out}x{into}, which {shapes} do not fit"
        raise PixartError("weights-invalid", what, _OTHER_NETWORK)
    if {down.dtype, up.dtype} - _FLOATS or (alpha is not None and alpha.parameters != 1):
        what = f"LoRA {name}: the tensors of {key} are no matrices of numbers"
        raise PixartError("weights-invalid", what, "Name another file.")
    return Layer(key.removesuffix(".weight"), parts["down"], parts["up"], parts.get("alpha"), rank)
