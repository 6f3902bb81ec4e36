"""Which of the processes that draw together this one is, by the variables that torchrun sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NEEDED: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Process `rank` of `size`; `local_rank` counts those of one machine. Alone unless said otherwise."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that asks, writes and reports; the others help it."""
        return self.rank == 0


def place(environ: Mapping[str, str]) -> Place:
    """The place that `environ` gives this process; alone where it is not, or not wholly, described."""
    if not all(environ.get(name) for name in _NEEDED):
        return Place()
    try:
        rank, size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        local_rank = int(environ.get("LOCAL_RANK") or rank)
    except ValueError:
        return Place()
    return Place(rank=rank, size=size, local_rank=local_rank) if 0 <= rank < size else Place()
