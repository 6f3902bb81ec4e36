"""Several processes training as one: each takes its share of the batch, gradients are averaged.

Started by ``torchrun --nproc-per-node N -m pixart_cli train mini …``; alone, everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Team:
    """This process's `rank` among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, count: int) -> int:
        """How many of `count` samples this process takes."""
        return count // self.size + (self.rank < count % self.size)

    def chance(self, text: str) -> str:
        """`text` as a seed of this process's own; alone, `text` itself."""
        return text if self.size == 1 else f"{text} rank {self.rank} of {self.size}"

    def agreed(self, value: float) -> float:
        """What the leader has for `value`, so that all end a stage at the same step."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(told, src=0)
        return told.item()

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def join_team() -> Team:
    """The team torchrun describes in the environment, or a team of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return Team(distributed.get_rank(), size)
