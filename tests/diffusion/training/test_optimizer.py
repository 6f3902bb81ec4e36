"""Learning rates and optimizers."""

import sys

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.training.optimizer import Pace, build_optimizer


def test_the_rate_warms_up_and_stays() -> None:
    pace = Pace(steps=100, learning_rate=1.0, warmup_steps=4)
    assert [pace.rate(step) for step in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("schedule", "half"), [("cosine", 0.5), ("linear", 0.5)])
def test_the_rate_falls_to_nothing(schedule: str, half: float) -> None:
    pace = Pace(steps=100, learning_rate=2.0, schedule=schedule)
    assert pace.rate(0) == 2.0
    assert pace.rate(50) == pytest.approx(2 * half)
    assert pace.rate(100) == pytest.approx(0, abs=1e-9)
    assert pace.rate(1000) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["adamw", "came"])
def test_both_optimizers_go_downhill(name: str) -> None:
    weight = torch.nn.Parameter(torch.full((4, 4), 3.0))
    optimizer = build_optimizer([weight], Pace(steps=1, learning_rate=0.1, optimizer=name))
    for _ in range(40):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert weight.abs().max() < 1.5


def test_came_is_told_apart_from_a_bug_where_it_is_not_installed(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(PixartError, match="pytorch-optimizer") as caught:
        build_optimizer([], Pace(steps=1, learning_rate=0.1, optimizer="came"))
    assert "pixart-cli[train]" in caught.value.hint
    assert caught.value.exit_code == 2
