"""Which pictures a step sees: a function of the seed and the step alone, so that stopping changes nothing.

No torch here: `--dry-run` counts batches without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

Bucket = tuple[int, int]
_SEEDS: Final = 2**63


@dataclass(frozen=True, kw_only=True)
class Team:
    """How a batch is dealt out: each of `processes` takes `batch_size` pictures, `accumulate` times."""

    batch_size: int
    accumulate: int = 1
    processes: int = 1
    rank: int = 0

    @property
    def whole(self) -> int:
        """Pictures in one step of the optimizer."""
        return self.batch_size * self.accumulate * self.processes

    def slots(self, part: int) -> range:
        """The places in the whole batch that this process takes in its forward number `part`."""
        first = (part * self.processes + self.rank) * self.batch_size
        return range(first, first + self.batch_size)


class BatchPlan:
    """Every epoch shows every picture once, in batches of one bucket (height, width) each, in a new order.

    A bucket's last batch is filled up with its own pictures. Of `extra` (pictures of a class, that a
    subject is learned against) each epoch has as many as there are others, further ones each time.

    Args:
        buckets: the bucket of every picture.
        batch: pictures in a step.
        extra: indices of pictures that are balanced against all others.
    """

    def __init__(
        self, buckets: Sequence[Bucket], batch: int, seed: int, extra: frozenset[int] = frozenset()
    ) -> None:
        self._buckets, self._batch, self._seed = buckets, batch, seed
        self._own = [index for index in range(len(buckets)) if index not in extra]
        self._extra = sorted(extra)
        self._epochs: dict[int, list[tuple[int, ...]]] = {}
        self._ends: list[int] = []

    def at(self, step: int) -> tuple[int, ...]:
        """The pictures of `step` (from 0), by index, place by place."""
        epoch = 0
        while step >= self._end(epoch):
            epoch += 1
        return self._epoch(epoch)[step - (self._end(epoch - 1) if epoch else 0)]

    def epoch_of(self, step: int) -> int:
        """The epoch (from 0) that `step` belongs to."""
        epoch = 0
        while step >= self._end(epoch):
            epoch += 1
        return epoch

    def _end(self, epoch: int) -> int:
        """The first step after `epoch`."""
        while len(self._ends) <= epoch:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._epoch(len(self._ends))))
        return self._ends[epoch]

    def _epoch(self, epoch: int) -> list[tuple[int, ...]]:
        if epoch not in self._epochs:
            self._epochs = {epoch: self._made(epoch)}  # one is remembered: steps come in order
        return self._epochs[epoch]

    def _made(self, epoch: int) -> list[tuple[int, ...]]:
        rng = Random(f"{self._seed} epoch {epoch}")  # noqa: S311 -- seeded chance is wanted
        pictures: dict[Bucket, list[int]] = {}
        for index in (*self._own, *self._balance(epoch)):
            pictures.setdefault(self._buckets[index], []).append(index)
        batches = []
        for bucket in sorted(pictures):
            order = pictures[bucket]
            rng.shuffle(order)
            order += [order[i % len(order)] for i in range(-len(order) % self._batch)]
            batches += [tuple(order[i : i + self._batch]) for i in range(0, len(order), self._batch)]
        rng.shuffle(batches)
        return batches

    def _balance(self, epoch: int) -> list[int]:
        count = len(self._own) if self._extra else 0
        return [self._extra[(epoch * count + i) % len(self._extra)] for i in range(count)]


def seed_of(*parts: object) -> int:
    """A seed for torch's generators that `parts` alone decide."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS
