"""What the transformer's blocks are told: prompts' tokens, projected once and attended to in every block.

Shapes: R rows (pictures x guidance branches), N = H·W tokens C wide, L real tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

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


class Text:
    """One prompt as the blocks see it, without padding: no mask, and no neighbour's length."""

    def __init__(self, transformer: PixArtTransformer2DModel, embeds_LC: Tensor, savings: Savings) -> None:
        self._transformer = transformer
        self._embeds = embeds_LC[None]
        self._savings = savings
        self._constant = savings.constant_text and len(embeds_LC) == 1
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}

    @cached_property
    def _projected(self) -> Tensor:
        return self._project()

    def _project(self) -> Tensor:
        projection = self._transformer.caption_projection
        return self._embeds if projection is None else projection(self._embeds)

    def attention(self, layer: int, attn: Attention, hidden_1NC: Tensor) -> Tensor:
        """Cross-attention of block `layer`: (1, N, C), or (1, 1, C) where it is the same for every token."""
        if layer not in self._kept or not self._savings.text_keys_once:
            self._kept[layer] = self._keys(attn)
        first, values = self._kept[layer]
        if values is None:
            return first
        return attend(attn, attn.to_q(hidden_1NC), first, values)

    def _keys(self, attn: Attention) -> tuple[Tensor, Tensor | None]:
        """(keys, values), or (the constant output, None)."""
        states = self._projected if self._savings.caption_once else self._project()
        if self._constant:
            return attn.to_out[1](attn.to_out[0](attn.to_v(states))), None
        return attn.to_k(states), attn.to_v(states)


class Apart:
    """The branches of one picture, each with a text of its own."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts
        self.rows = len(texts)

    def add(self, layer: int, attn: Attention, hidden_RNC: Tensor) -> Tensor:
        """`hidden_RNC` and its cross-attention in block `layer`."""
        pairs = zip(self._texts, hidden_RNC.split(1), strict=True)
        return torch.cat([one + text.attention(layer, attn, one) for text, one in pairs])


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
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, layer: int, attn: Attention, hidden_RNC: Tensor) -> Tensor:
        """`hidden_RNC` and its cross-attention in block `layer`."""
        alike, others = hidden_RNC[: self._constant], hidden_RNC[self._constant :]
        pieces = [] if self._one is None else [alike + self._one.attention(layer, attn, alike)]
        if len(others):
            if layer not in self._kept:
                self._kept[layer] = attn.to_k(self._states), attn.to_v(self._states)
            keys, values = self._kept[layer]
            pieces.append(others + attend(attn, attn.to_q(others), keys, values, self._mask))
        return torch.cat(pieces)

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
