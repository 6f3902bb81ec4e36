"""Less memory after each time it runs out; the same bits on the processor."""

from __future__ import annotations

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.fallback import Planned, exact


class Worker(Planned):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def failing(times: int, error: BaseException) -> tuple[list[int], object]:
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return calls, work


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_memory_that_runs_out_steps_the_plan_down(cpu_plan: MemoryPlan, error: BaseException) -> None:
    worker = Worker(cpu_plan)
    calls, work = failing(1, error)
    assert worker.with_fallback(work) == "done"
    assert (len(calls), worker.closed, worker.plan.offload) == (2, 1, "offload")


def test_after_the_last_rung_it_is_said(cpu_plan: MemoryPlan) -> None:
    worker = Worker(cpu_plan)
    _, work = failing(99, MemoryError())
    with pytest.raises(PixartError) as caught:
        worker.with_fallback(work)
    assert caught.value.code == "out-of-memory"


def test_other_errors_are_not_of_memory(cpu_plan: MemoryPlan) -> None:
    _, work = failing(1, RuntimeError("a shape"))
    with pytest.raises(RuntimeError, match="a shape"):
        Worker(cpu_plan).with_fallback(work)


def test_the_processor_computes_deterministically_only_within(cpu_plan: MemoryPlan) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with exact(cpu_plan):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
