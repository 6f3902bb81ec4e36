"""Work that is done again with less memory when memory runs out, and exactly on the processor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.memory import is_out_of_memory

_T = TypeVar("_T")


class Planned(ABC):
    """What works under a memory plan; `plan` is always the one in force."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan = plan

    @abstractmethod
    def close(self) -> None:
        """Free the networks; the next call loads them again."""

    def with_fallback(self, work: Callable[[], _T], *, encoding: bool = False) -> _T:
        """`work` done under the plan, or under a smaller one each time memory runs out.

        Raises:
            PixartError: "out-of-memory" after the last.
        """
        while True:
            try:
                with exact(self.plan), torch.inference_mode():
                    return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.plan.step_down(encoding=encoding)
            self.close()
            if smaller is None:
                raise PixartError(
                    "out-of-memory",
                    f"memory ran out on {self.plan.device}, after every fallback",
                    "Close other programs, choose a smaller model with --model, or try --device cpu.",
                )
            self.plan = smaller


@contextmanager
def exact(plan: MemoryPlan) -> Iterator[None]:
    """On the processor the same request gives the same bits; elsewhere nothing is promised."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if plan.on_cpu:
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=warn_only)
