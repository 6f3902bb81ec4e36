"""One forward of the transformer shared out over several processes, equal to that of one.

A guided forward on an even number of processes is cut into its two branches first: half of the processes
compute the negative prompt's, half the prompt's, and nothing passes between the halves before the end.
What is left is cut by rows of tokens: every process computes queries and feed-forward layers of its own
rows, and self-attention's keys and values, compressed where compression is on, are gathered from all that
share the branch. Cross-attention needs no other token. At the end the rows of all are gathered, so that
every process holds the whole output and goes on alike.

Shapes: B guidance branches, n = h·W of this process's N = H·W tokens, C wide, m of M keys.
The gathering of keys and values is that of sequence parallelism, arXiv 2105.13120, without its ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, cycle, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.nn import functional as F

from pixart_cli.diffusion.kv_compression import (
    Grid,
    KVCompressedAttnProcessor,
    attend,
    compress,
    project,
    tokens_left,
)

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

    from pixart_cli.diffusion.links import Links

_T = TypeVar("_T")


def deal(rows: int, parts: int, unit: int = 1) -> list[Grid]:
    """`parts` spans (first, end) of `rows`, in order: whole windows of `unit` rows, as even as can be.

    The last window may be cut short by the last row. With fewer windows than parts the last spans are empty.
    """
    windows = -(-rows // unit)
    counts = [windows // parts + (part < windows % parts) for part in range(parts)]
    ends = [min(rows, unit * end) for end in accumulate(counts, initial=0)]
    return list(pairwise(ends))


class Whole:
    """The share of a process that is alone: all of it.

    Args:
        grid: (H, W) in tokens, of what is computed here.
        told: whether the attention processors want to know the grid.
    """

    def __init__(self, grid: Grid, *, told: bool) -> None:
        self.grid = grid
        self._told = {"grid": grid} if told else {}

    def branches(self, texts: Sequence[_T]) -> Sequence[_T]:
        """Those of the branches that are computed here."""
        return texts

    def tokens(self, hidden_BNC: Tensor) -> Tensor:
        """Those of the tokens that are computed here, (B, n, C)."""
        return hidden_BNC

    def attention(self, attn: Attention, hidden_BnC: Tensor) -> Tensor:
        """Self-attention of the tokens computed here over all of the picture, (B, n, C)."""
        attended: Tensor = attn(hidden_BnC, **self._told)
        return attended

    def total(self, sums: Tensor) -> Tensor:
        """`sums` of one process added up over all."""
        return sums

    def output(self, own_BnD: Tensor) -> Tensor:
        """What all processes computed together, (B, N, D), from what this one did."""
        return own_BnD


class Shared(Whole):
    """One process's share of a forward that several compute.

    Args:
        links: to the other processes.
        grid: (H, W) in tokens of the whole picture.
        branches: how many there are, 1 or 2.
        unit: rows that must stay together: the KV compression's ratio, or 1.
    """

    def __init__(self, links: Links, grid: Grid, *, branches: int, unit: int) -> None:
        self._links = links
        self._branched = branches == 2 and links.size % 2 == 0
        parts = links.size // 2 if self._branched else links.size
        self._branch, part = divmod(links.rank, parts)
        self._spans = deal(grid[0], parts, unit)
        self._first, self._end = self._spans[part]
        self._width = grid[1]
        super().__init__((self._end - self._first, grid[1]), told=False)

    def branches(self, texts: Sequence[_T]) -> Sequence[_T]:
        """All, or the one of this half of the processes."""
        return texts[self._branch : self._branch + 1] if self._branched else texts

    def tokens(self, hidden_BNC: Tensor) -> Tensor:
        """The rows of this process."""
        return hidden_BNC[:, self._first * self._width : self._end * self._width]

    def attention(self, attn: Attention, hidden_BnC: Tensor) -> Tensor:
        """As the processors of `attn` do, with keys and values from all processes of the branch.

        Raises:
            ValueError: for a processor that does something else, or where compression leaves no key.
        """
        sampling, ratio = _compression(attn)
        query, key, value = project(attn, hidden_BnC)
        if ratio > 1:
            key, value = (self._compressed(attn, each, sampling, ratio) for each in (key, value))
        both = torch.stack([key, value]).to(query.dtype)
        counts = [tokens_left((end - first, self._width), sampling, ratio) for first, end in self._spans]
        if not any(counts):
            raise ValueError(f"KV compression {ratio} leaves nothing of rows of {self._width} tokens")
        if len(counts) > 1:
            pieces = self._links.gather(_padded(both, max(counts)), halves=self._branched)
            both = torch.cat(_trimmed(pieces, counts), dim=2)
        keys, values = both
        return attend(attn, query, keys, values)

    def _compressed(self, attn: Attention, own_BnC: Tensor, sampling: str, ratio: int) -> Tensor:
        """Of one's own rows, (B, m, C); they begin where a window does."""
        if not tokens_left(self.grid, sampling, ratio):
            return own_BnC[:, :0]
        return compress(attn, own_BnC, self.grid, sampling, ratio)

    def total(self, sums: Tensor) -> Tensor:
        """Added up in the same order everywhere, so that all decide alike."""
        return self._links.gather(sums).sum(dim=0)

    def output(self, own_BnD: Tensor) -> Tensor:
        """Gathered from all: every process has the whole, the same to the last bit."""
        counts = [(end - first) * self._width for first, end in self._spans]
        pieces = _trimmed(self._links.gather(_padded(own_BnD, max(counts))), counts)
        branches = [pieces[start : start + len(counts)] for start in range(0, len(pieces), len(counts))]
        return torch.cat([torch.cat(each, dim=1) for each in branches])


@contextmanager
def shared_out(transformer: Any, links: Links | None) -> Iterator[None]:
    """Within, the processes of `links`, if any, compute every `forward.Forward` of `transformer` together."""
    if links is None:
        yield
        return
    transformer.links = links
    try:
        yield
    finally:
        del transformer.links


def share(transformer: Any, grid: Grid, *, branches: int) -> Whole:
    """This process's share of a forward over `grid` (H, W): all of it unless it is :func:`shared_out`."""
    compression = getattr(transformer, "kv_compression", None)
    links = getattr(transformer, "links", None)
    if links is None:
        return Whole(grid, told=compression is not None)
    return Shared(links, grid, branches=branches, unit=1 if compression is None else compression.ratio)


def _compression(attn: Attention) -> tuple[str, int]:
    """(sampling, ratio) of the processor of `attn`."""
    processor = attn.processor
    if isinstance(processor, KVCompressedAttnProcessor):
        return processor.sampling, processor.ratio
    if isinstance(processor, AttnProcessor2_0):
        return "pool", 1
    raise ValueError(f"attention with {type(processor).__name__} cannot be shared out")


def _padded(tokens: Tensor, count: int) -> Tensor:
    """(..., n, C) with zeros up to `count` tokens: all processes must send as much."""
    return F.pad(tokens, (0, 0, 0, count - tokens.shape[-2]))


def _trimmed(pieces: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The pieces of all processes without padding; `counts` of one branch's, and again of the next one's."""
    return [piece[..., :count, :] for piece, count in zip(pieces, cycle(counts), strict=False)]
