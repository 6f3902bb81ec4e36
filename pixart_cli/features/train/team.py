"""Several processes training as one: each takes its share of the batch, gradients are averaged.

Started by ``torchrun --nproc-per-node N -m pixart_cli train mini …``; alone, everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from pixart_cli.core.crew import place


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

    def spread(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`work(rows)`, which is done row by row, each process doing its share of the rows."""
        if self.size == 1:
            return work(rows)
        each = -(-len(rows) // self.size)
        padded = torch.cat([rows, rows.new_zeros(each * self.size - len(rows), *rows.shape[1:])])
        mine = work(padded[self.rank * each :][:each]).contiguous()
        everything = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(everything, mine)
        return torch.cat(everything)[: len(rows)]

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


ALONE = Team()


def join_team() -> Team:
    """The team torchrun describes in the environment, or a team of one."""
    here = place(os.environ)
    if here.alone:
        return ALONE
    if not distributed.is_initialized():
        device = own_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Team(distributed.get_rank(), here.size)


def own_device() -> torch.device:
    """What this process trains on: of several GPUs of a machine its own, else the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", place(os.environ).local_rank % torch.cuda.device_count())
