"""What the transformer's blocks are told: prompts' tokens, projected once and attended to in every block.

Shapes: R rows (pictures x guidance branches), N = H·W tokens C wide, L real tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pixart_cli.diffusion.kv_compression import attend

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

_MANY: Final = 16384


@dataclass(frozen=True, kw_only=True)
class Savings:
    """What is computed once instead of again and again. All of them are exact.

    Attributes:
        caption_once: the prompt's projection to the transformer's width, once a picture.
        text_keys_once: keys and values of cross-attention, once a picture; its projection with them.
        constant_text: a prompt of one token, as the empty negative one is, has a softmax over one key:
            1, whatever the query. Its cross-attention is one vector per block.
        shared_start: latents and timestep are the same for both branches, so everything up to the first
            cross-attention is: patches, timestep and the first block's self-attention.
        positions_once: the position embedding of a size that is not the native square, once a picture.
        chunk_from: from so many tokens on the feed-forward layer works on 4096 at a time, so that its four
            times wider inside never exists whole.
    """

    caption_once: bool = True
    text_keys_once: bool = True
    constant_text: bool = True
    shared_start: bool = True
    positions_once: bool = True
    chunk_from: int = _MANY


ALL: Final = Savings()
NONE: Final = Savings(
    caption_once=False, text_keys_once=False, constant_text=False, shared_start=False, positions_once=False,
    chunk_from=1 << 62,
)  # fmt: skip


class Told(NamedTuple):
    """What the cross-attention of a block looks at in `rows` rows that follow each other.

    `first` and `values` are keys and values, (1 or rows, L, C), `mask` what is added to their scores. Without
    `values`, `first` is the attention's output, (1, 1, C), the same for every token and row.
    """

    rows: int
    first: Tensor
    values: Tensor | None = None
    mask: Tensor | None = None


def add_told(attn: Attention, hidden_RNC: Tensor, told: Sequence[Told]) -> Tensor:
    """`hidden_RNC` and its cross-attention to what its rows are told."""
    pieces = zip(hidden_RNC.split([each.rows for each in told]), told, strict=True)
    return torch.cat([piece + _cross_attention(attn, piece, each) for piece, each in pieces])


def _cross_attention(attn: Attention, hidden_RNC: Tensor, told: Told) -> Tensor:
    if told.values is None:
        return told.first
    return attend(attn, attn.to_q(hidden_RNC), told.first, told.values, told.mask)


class Text:
    """One prompt as the blocks see it, without padding: no mask, and no neighbour's length."""

    def __init__(self, transformer: PixArtTransformer2DModel, embeds_LC: Tensor, savings: Savings) -> None:
        self._transformer = transformer
        self._embeds = embeds_LC[None]
        self._savings = savings
        self._constant = savings.constant_text and len(embeds_LC) == 1
        self._kept: dict[int, Told] = {}

    @cached_property
    def _projected(self) -> Tensor:
        return self._project()

    def _project(self) -> Tensor:
        projection = self._transformer.caption_projection
        return self._embeds if projection is None else projection(self._embeds)

    def told(self, layer: int, attn: Attention) -> Told:
        """What the cross-attention of block `layer` looks at, for one row."""
        if layer not in self._kept or not self._savings.text_keys_once:
            self._kept[layer] = self._tell(attn)
        return self._kept[layer]

    def _tell(self, attn: Attention) -> Told:
        states = self._projected if self._savings.caption_once else self._project()
        if self._constant:
            return Told(1, attn.to_out[1](attn.to_out[0](attn.to_v(states))))
        return Told(1, attn.to_k(states), attn.to_v(states))


class Apart:
    """The branches of one picture, each with a text of its own."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts
        self.rows = len(texts)

    def told(self, layer: int, attn: Attention) -> list[Told]:
        """What block `layer` is told, row by row."""
        return [text.told(layer, attn) for text in self._texts]


class Together:
    """The branches of several pictures, computed in one go: texts of different length are padded and masked.

    The first rows whose text is a single token, as the empty negative prompt is, need no attention: a
    softmax over one key is 1. Their texts are equal, for a token alone is the end token.

    Args:
        embeds: (L, caption channels) a row.
    """

    def __init__(
        self, transformer: PixArtTransformer2DModel, embeds: Sequence[Tensor], savings: Savings
    ) -> None:
        self.rows = len(embeds)
        self._constant = next((row for row, each in enumerate(embeds) if len(each) > 1), len(embeds))
        self._one = Text(transformer, embeds[0], savings) if self._constant else None
        self._projection = transformer.caption_projection
        self._embeds = embeds[self._constant :]
        self._kept: dict[int, list[Told]] = {}

    def told(self, layer: int, attn: Attention) -> list[Told]:
        """What block `layer` is told: the rows of one token first, then all others."""
        if layer not in self._kept:
            self._kept[layer] = self._tell(layer, attn)
        return self._kept[layer]

    def _tell(self, layer: int, attn: Attention) -> list[Told]:
        told = [] if self._one is None else [self._one.told(layer, attn)._replace(rows=self._constant)]
        if self._embeds:
            keys, values = attn.to_k(self._states), attn.to_v(self._states)
            told.append(Told(len(self._embeds), keys, values, self._mask))
        return told

    @cached_property
    def _states(self) -> Tensor:
        """All texts in the transformer's width, (R, longest L, C)."""
        padded = pad_sequence(list(self._embeds), batch_first=True)
        states: Tensor = padded if self._projection is None else self._projection(padded)
        return states

    @cached_property
    def _mask(self) -> Tensor | None:
        """What is added to the scores, (R, 1, 1, longest L): nothing where there is a token."""
        lengths = torch.tensor([len(each) for each in self._embeds], device=self._states.device)
        longest = self._states.shape[1]
        if bool((lengths == longest).all()):
            return None
        beyond = torch.arange(longest, device=lengths.device)[None] >= lengths[:, None]
        scores = torch.zeros(beyond.shape, dtype=self._states.dtype, device=lengths.device)
        return scores.masked_fill(beyond, -torch.inf)[:, None, None]
