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

# Where torch may have no fused kernel it holds this much of scores at a time.
_SCORE_BYTES: Final = 2 << 30


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
            scores = _SCORE_BYTES // (4 * keys.shape[2])
            most = queries.shape[2] if fused(queries, keys, values) else scores
            seen: list[torch.Tensor] = [
                functional.scaled_dot_product_attention(part, keys, values)
                for part in queries.split(max(1, most), dim=2)
            ]
            mixed: torch.Tensor = attention.to_out[0](torch.cat(seen, dim=2).transpose(1, 2).flatten(2))
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


def fused(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> bool:
    """Whether torch attends to these, (1, heads, N, C / heads), without holding all scores at once.

    On a GPU the head of 512 that SD-family autoencoders have is too wide for some of the kernels, and
    queries in small portions would leave most of it idle.
    """
    if queries.device.type != "cuda":
        return queries.device.type == "cpu"
    from torch.backends import cuda

    told = cuda.SDPAParams(queries, keys, values, None, 0.0, False, False)
    return cuda.can_use_flash_attention(told) or cuda.can_use_efficient_attention(told)


def _tokens(piece: torch.Tensor, prepare: Prepare | None) -> torch.Tensor:
    """The pixels of (1, C, n, W), prepared, as (1, n·W, C)."""
    normal = piece if prepare is None else prepare(piece)
    return normal.permute(0, 2, 3, 1).flatten(1, 2)
