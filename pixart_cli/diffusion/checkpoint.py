"""The authors' checkpoints (.pth) and diffusers' names: one table, read both ways, and what tensors tell.

Sources: PixArt-sigma `diffusion/model/nets/PixArtMS.py` and `PixArt_blocks.py`, whose modules have the first
name of a row; arXiv 2310.00426 (micro-conditions), 2403.04692 (KV compression, position embedding).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pixart_cli.core.errors import PixartError

State = Mapping[str, Tensor]
Row = tuple[str, tuple[str, ...]]

_KINDS: Final = (".weight", ".bias")
# Module of the authors → of diffusers; where these are several, the first holds theirs one below the other.
_OUTER: Final[tuple[Row, ...]] = (
    ("x_embedder.proj", ("pos_embed.proj",)),
    ("t_embedder.mlp.0", ("adaln_single.emb.timestep_embedder.linear_1",)),
    ("t_embedder.mlp.2", ("adaln_single.emb.timestep_embedder.linear_2",)),
    ("t_block.1", ("adaln_single.linear",)),
    ("y_embedder.y_proj.fc1", ("caption_projection.linear_1",)),
    ("y_embedder.y_proj.fc2", ("caption_projection.linear_2",)),
    ("final_layer.linear", ("proj_out",)),
)
_MICRO: Final[tuple[Row, ...]] = (
    ("csize_embedder.mlp.0", ("adaln_single.emb.resolution_embedder.linear_1",)),
    ("csize_embedder.mlp.2", ("adaln_single.emb.resolution_embedder.linear_2",)),
    ("ar_embedder.mlp.0", ("adaln_single.emb.aspect_ratio_embedder.linear_1",)),
    ("ar_embedder.mlp.2", ("adaln_single.emb.aspect_ratio_embedder.linear_2",)),
)
_BLOCK: Final[tuple[Row, ...]] = (
    ("attn.qkv", ("attn1.to_q", "attn1.to_k", "attn1.to_v")),
    ("attn.proj", ("attn1.to_out.0",)),
    ("cross_attn.q_linear", ("attn2.to_q",)),
    ("cross_attn.kv_linear", ("attn2.to_k", "attn2.to_v")),
    ("cross_attn.proj", ("attn2.to_out.0",)),
    ("mlp.fc1", ("ff.net.0.proj",)),
    ("mlp.fc2", ("ff.net.2",)),
)
_QK_NORM: Final[tuple[Row, ...]] = (
    ("attn.q_norm", ("attn1.q_norm",)),
    ("attn.k_norm", ("attn1.k_norm",)),
)
_CONV: Final[tuple[Row, ...]] = (
    ("attn.sr", ("attn1.sr",)),
    ("attn.norm", ("attn1.norm",)),
)
_TABLE: Final = "scale_shift_table"
_POSITION: Final = "pos_embed"
_EMPTY_CAPTION: Final = "y_embedder.y_embedding"
_DROPPED: Final = frozenset({_POSITION, _EMPTY_CAPTION})
_BLOCK_KEY: Final = re.compile(r"blocks\.(\d+)\.(.+)")
_SCALES: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# bfloat16 rounds numbers below 1 by up to 1/512.
_POSITION_TOLERANCE: Final = 4e-3


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What the tensors of a checkpoint tell of the network.

    Attributes:
        depth, width: the blocks, and the numbers a token has.
        caption_channels: width of the text encoder's output.
        in_channels, out_channels: of the latents, and of noise with sigma if that is learned.
        patch_size: latent pixels a token covers per side.
        micro_conditions: whether size and aspect ratio are told (α at 1024 px).
        qk_norm: whether queries and keys are normed.
        conv_layers: the blocks whose keys and values a convolution compresses.
        conv_ratio: its R; 1 for none.
        caption_tokens: length of the empty caption; None where the file has none.
        tokens_per_side: of the square that the stored position embedding is for; None where there is none.
        interpolation_scale: of that embedding; None where it is no sine-cosine embedding.
    """

    depth: int
    width: int
    caption_channels: int
    in_channels: int
    out_channels: int
    patch_size: int
    micro_conditions: bool = False
    qk_norm: bool = False
    conv_layers: tuple[int, ...] = ()
    conv_ratio: int = 1
    caption_tokens: int | None = None
    tokens_per_side: int | None = None
    interpolation_scale: float | None = None


def names(anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
    """Every tensor a checkpoint of this anatomy has → diffusers' names for its parts, top to bottom."""
    return dict(_names(anatomy))


def _names(anatomy: Anatomy) -> Iterator[Row]:
    yield f"final_layer.{_TABLE}", (_TABLE,)
    yield from _spelled("", "", (*_OUTER, *(_MICRO if anatomy.micro_conditions else ())))
    for layer in range(anatomy.depth):
        ours, theirs = f"blocks.{layer}.", f"transformer_blocks.{layer}."
        yield ours + _TABLE, (theirs + _TABLE,)
        extra = _QK_NORM if anatomy.qk_norm else ()
        conv = _CONV if layer in anatomy.conv_layers else ()
        yield from _spelled(ours, theirs, (*_BLOCK, *extra, *conv))


def _spelled(ours: str, theirs: str, rows: tuple[Row, ...]) -> Iterator[Row]:
    for original, parts in rows:
        for kind in _KINDS:
            yield ours + original + kind, tuple(theirs + part + kind for part in parts)


def to_diffusers(state: State, anatomy: Anatomy) -> dict[str, Tensor]:
    """The tensors of a checkpoint under diffusers' names; views, nothing is copied.

    Raises:
        KeyError: when a tensor is missing; :func:`check_names` says so in words.
    """
    found: dict[str, Tensor] = {}
    for original, parts in names(anatomy).items():
        found |= zip(parts, state[original].chunk(len(parts)), strict=True)
    return found


def to_original(state: State, anatomy: Anatomy) -> dict[str, Tensor]:
    """The inverse of :func:`to_diffusers`; what that drops does not come back.

    Raises:
        KeyError: when a tensor is missing.
    """
    return {
        original: torch.cat([state[part] for part in parts]) if len(parts) > 1 else state[parts[0]]
        for original, parts in names(anatomy).items()
    }


def read_anatomy(path: Path, state: State) -> Anatomy:
    """The anatomy of the network whose tensors `state` holds; `path` is named in errors.

    Raises:
        PixartError: "weights-invalid" naming a tensor that is missing, unknown or misshapen.
    """
    width, in_channels, patch_size, _ = _shape(path, state, "x_embedder.proj.weight", 4)
    rows = _shape(path, state, "final_layer.linear.weight", 2)[0]
    keys = [match for key in state if (match := _BLOCK_KEY.fullmatch(key))]
    layers, ratio = _convolution(path, state)
    anatomy = Anatomy(
        depth=len({match[1] for match in keys}),
        width=width,
        caption_channels=_shape(path, state, "y_embedder.y_proj.fc1.weight", 2)[1],
        in_channels=in_channels,
        out_channels=rows // patch_size**2,
        patch_size=patch_size,
        micro_conditions=any(key.startswith(("csize_embedder.", "ar_embedder.")) for key in state),
        qk_norm=any(match[2].startswith(("attn.q_norm.", "attn.k_norm.")) for match in keys),
        conv_layers=layers,
        conv_ratio=ratio,
        caption_tokens=_shape(path, state, _EMPTY_CAPTION, 2)[0] if _EMPTY_CAPTION in state else None,
        **_position(state, width),  # type: ignore[arg-type]
    )
    check_names(path, state, anatomy)
    return anatomy


def check_names(path: Path, state: State, anatomy: Anatomy) -> None:
    """Every tensor there, and no other.

    Raises:
        PixartError: "weights-invalid" naming up to three of them.
    """
    expected = names(anatomy).keys()
    if any(key.startswith("transformer_blocks.") for key in state):
        raise unfit(path, "its tensors have diffusers' names already", "Only the authors' need converting.")
    refuse(path, state.keys() - expected - _DROPPED, "are not known")
    refuse(path, expected - state.keys(), "are missing")


def check_shapes(path: Path, state: State, anatomy: Anatomy, expected: Mapping[str, torch.Size]) -> None:
    """Every tensor of the shape that the network built from `anatomy` has; `expected` has diffusers' names.

    Raises:
        PixartError: "weights-invalid" naming up to three of them.
    """
    wrong = set()
    for original, parts in names(anatomy).items():
        first, *rest = expected[parts[0]]
        if tuple(state[original].shape) != (first * len(parts), *rest):
            wrong.add(original)
    refuse(path, wrong, "have another shape")


def refuse(path: Path, keys: set[str], what: str) -> None:
    """Raise "weights-invalid", naming the first three of `keys`, if there are any."""
    if keys:
        shown = ", ".join(key[:80] for key in sorted(keys)[:3]) + (" …" if len(keys) > 3 else "")
        raise unfit(path, f"{len(keys)} of its tensors {what}: {shown}")


def unfit(path: Path, why: str, hint: str = "") -> PixartError:
    """The "weights-invalid" error for the checkpoint `path`."""
    usual = "Convert a checkpoint of PixArt-α or Σ as its authors save them, downloaded whole."
    return PixartError("weights-invalid", f"{path}: {why}", hint or usual)


def _shape(path: Path, state: State, key: str, sides: int) -> tuple[int, ...]:
    if key not in state:
        raise unfit(path, f"it holds no {key}: this is no PixArt checkpoint")
    shape = tuple(state[key].shape)
    if len(shape) != sides or 0 in shape:
        raise unfit(path, f"its {key} has the shape {shape}")
    return shape


def _convolution(path: Path, state: State) -> tuple[tuple[int, ...], int]:
    """The blocks with a compressing convolution, and its R: all must have the same."""
    found = {}
    for key in state:
        match = _BLOCK_KEY.fullmatch(key)
        if match and match[2] == "attn.sr.weight" and len(match[1]) < 6:
            found[int(match[1])] = _shape(path, state, key, 4)[-1]
    ratios = set(found.values())
    if len(ratios) > 1 or 1 in ratios:
        raise unfit(path, f"its layers are compressed by {sorted(ratios)}, not all by one ratio from 2 on")
    return tuple(sorted(found)), ratios.pop() if ratios else 1


def _position(state: State, width: int) -> dict[str, int | float | None]:
    """Side and scale of the stored position embedding (1, side², width), as far as they can be told."""
    stored = state.get(_POSITION)
    if stored is None or stored.ndim != 3 or stored.shape[0] != 1 or stored.shape[2] != width or width % 4:
        return {}
    side = math.isqrt(stored.shape[1])
    if side < 2 or side * side != stored.shape[1]:
        return {}
    return {"tokens_per_side": side, "interpolation_scale": _scale(stored[0, :side].double(), width)}


def _scale(row_ND: Tensor, width: int) -> float | None:
    """The interpolation scale with which the first row of tokens has its embedding; None if none has.

    Columns stand at arange(N) / scale; the first half of D tells the column, sines before cosines.
    """
    angle = math.atan2(row_ND[1, 0].item(), row_ND[1, width // 4].item())
    own = () if angle <= 0 else (float(f"{1 / angle:.4g}"),)
    found = row_ND[:, : width // 2]
    fits = (s for s in (*_SCALES, *own) if _is_near(found, _columns(len(row_ND), width, s)))
    return next(fits, None)


def _is_near(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() < _POSITION_TOLERANCE)


def _columns(count: int, width: int, scale: float) -> Tensor:
    """Sines and cosines of `count` columns, (N, D / 2): arXiv 1706.03762, section 3.5."""
    quarter = width // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.outer(torch.arange(count, dtype=torch.float64) / scale, omega)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
