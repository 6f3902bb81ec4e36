"""The self-attention in the middle of an SD-family autoencoder, over all pixels of the picture at once.

Keys and values of the whole latent are kept, queries come a band at a time: a pixel's result depends on
no other query, so nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from pixart_cli.diffusion.bands import Rows
from pixart_cli.diffusion.moments import Normaliser
from pixart_cli.diffusion.stages import Prepare
from pixart_cli.diffusion.sweep import Store

# So many bytes of scores, of so many queries at most, are held at a time where they are held at all: small
# pictures should not take more memory for them than for the rest.
_SCORE_BYTES: Final = 1 << 30
_QUERIES: Final = 2048
_HALVES: Final = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Attending:
    """A stage: self-attention over all pixels, its queries a band at a time."""

    attention: Any

    def held(self, height: int, width: int) -> tuple[int, int, int]:
        """Height and width after it, and the numbers held at most while it runs."""
        return height, width, 3 * self.attention.to_k.in_features * height * width

    def run(self, source: Rows, store: Store) -> Rows:
        """The stage's output; `source` is released row by row."""
        attention = self.attention
        moments = source.moments
        prepare = None if attention.group_norm is None else Normaliser(attention.group_norm, moments, None)
        keys, values = self._keys_and_values(source, store, prepare)
        output = store.rows(source.height, source.width, source.channels)

        def work(start: int, stop: int) -> Sequence[torch.Tensor]:
            piece = source.read(start, stop)
            queries = self._heads(attention.to_q(_tokens(piece, prepare)))
            seen = attended(queries, keys, values)
            mixed: torch.Tensor = attention.to_out[0](seen.transpose(1, 2).flatten(2))
            result = mixed.unflatten(1, (stop - start, source.width)).permute(0, 3, 1, 2)
            if attention.residual_connection:
                result = result + piece
            scale = float(attention.rescale_output_factor)
            return [result if scale == 1.0 else result / scale]

        store.sweep(
            source.height,
            source.width * source.channels,
            work,
            into=[output],
            spent={source: lambda stop: stop},
        )
        return output

    def _keys_and_values(
        self, source: Rows, store: Store, prepare: Prepare | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of every pixel, (1, heads, H·W, C / heads) each."""
        attention = self.attention
        both = store.empty(2, 1, source.height * source.width, attention.to_k.out_features)

        def work(start: int, stop: int) -> Sequence[torch.Tensor]:
            tokens = _tokens(source.read(start, stop), prepare)
            span = slice(start * source.width, stop * source.width)
            both[0, :, span], both[1, :, span] = attention.to_k(tokens), attention.to_v(tokens)
            return []

        store.sweep(source.height, source.width * source.channels, work)
        return self._heads(both[0]), self._heads(both[1])

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """(1, N, C) as (1, heads, N, C / heads)."""
        heads: torch.Tensor = tokens.unflatten(2, (self.attention.heads, -1))
        return heads.transpose(1, 2)


def attended(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """softmax(Q Kᵀ / sqrt(C)) V of (1, heads, N, C) each, queries all at once or in portions.

    The head of 512 that SD-family autoencoders have is too wide for torch's fast kernels on a GPU. The one
    that takes it reaches 72 TFLOP/s on an H100, where products of half precision reach several hundred.
    """
    kernels = _kernels(queries, keys, values)
    most = min(_QUERIES, _SCORE_BYTES // (4 * keys.shape[1] * keys.shape[2]))
    portions = queries.split(max(1, most), dim=2)
    halves = queries.is_cuda and queries.dtype in _HALVES and torch.version.hip is None
    if halves and not kernels.fast and hasattr(torch.ops.aten.bmm, "dtype"):  # from torch 2.8 on
        return torch.cat([by_products(part, keys, values) for part in portions], dim=2)
    if kernels.fused:
        portions = (queries,)
    pieces = [functional.scaled_dot_product_attention(part, keys, values) for part in portions]
    return torch.cat(pieces, dim=2)


def by_products(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As :func:`attended`, all scores held, in float32; products of half precision add up in float32 too."""
    scaled, across = (queries * queries.shape[3] ** -0.5)[0], keys[0].transpose(1, 2)
    if scaled.is_cuda:
        scores = torch.bmm(scaled, across, out_dtype=torch.float32)
    else:
        scores = torch.bmm(scaled.float(), across.float())
    weights = functional.softmax(scores, dim=-1).to(values.dtype)
    del scores
    return torch.bmm(weights, values[0])[None]


@dataclass(frozen=True)
class _Kernels:
    """What torch has for one attention: `fast`, made for the device; `fused`, that holds no scores."""

    fast: bool
    fused: bool


def _kernels(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> _Kernels:
    if queries.device.type != "cuda":
        there = queries.device.type == "cpu"
        return _Kernels(fast=there, fused=there)
    from torch.backends import cuda

    told = cuda.SDPAParams(queries, keys, values, None, 0.0, False, False)
    fast = cuda.can_use_flash_attention(told)
    return _Kernels(fast=fast, fused=fast or cuda.can_use_efficient_attention(told))


def _tokens(piece: torch.Tensor, prepare: Prepare | None) -> torch.Tensor:
    """The pixels of (1, C, n, W), prepared, as (1, n·W, C)."""
    normal = piece if prepare is None else prepare(piece)
    return normal.permute(0, 2, 3, 1).flatten(1, 2)
