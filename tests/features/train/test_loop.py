"""The loop: a run stopped and continued equals one never stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pixart_cli.features.train.loop import Loss, Stage, StageSettings, learning_rate_at
from pixart_cli.features.train.team import Team

SETTINGS = StageSettings(name="toy", steps=12, learning_rate=0.05, warmup_steps=3, checkpoint_seconds=0.0)


def toy_stage(folder: Path, settings: StageSettings = SETTINGS) -> Stage:
    torch.manual_seed(1)
    line = nn.Linear(3, 2)
    return Stage(nn.ModuleDict({"line": line}), settings, folder, Team(), [line.weight])


def loss_for(stage: Stage, stop_at: int | None = None):
    def plan(step: int):
        if step == stop_at:
            raise KeyboardInterrupt
        stage.generator.manual_seed(step)

        def loss() -> Loss:
            x = torch.randn(4, 3, generator=stage.generator)
            return (stage.modules["line"](x) - 1.0).square().mean(), {}

        return None, loss

    return plan


def weights(stage: Stage) -> list[float]:
    return [v for p in stage.modules.state_dict().values() for v in p.flatten().tolist()]


@pytest.mark.parametrize("muon", [False, True])
def test_continued_equals_unbroken_to_the_bit(tmp_path: Path, muon: bool) -> None:
    settings = replace(SETTINGS, muon=muon)
    unbroken = toy_stage(tmp_path / "a", settings)
    assert len(unbroken.optimizers) == 1 + muon
    unbroken.run(loss_for(unbroken), print)
    stopped = toy_stage(tmp_path / "b", settings)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(loss_for(stopped, stop_at=7), print)
    continued = toy_stage(tmp_path / "b", settings)
    assert continued.step == 7
    continued.run(loss_for(continued), print)
    assert weights(continued) == weights(unbroken)
    assert all(torch.equal(continued.average[k], unbroken.average[k]) for k in unbroken.average)


def test_a_finished_stage_makes_no_step(tmp_path: Path) -> None:
    first = toy_stage(tmp_path)
    first.run(loss_for(first), print)
    again = toy_stage(tmp_path)
    assert again.finished
    again.run(loss_for(again, stop_at=12), print)
    assert weights(again) == weights(first)


@pytest.mark.parametrize(("steps", "rows"), [(1, [1]), (4, [2, 3, 4])])
def test_the_last_step_is_told_once(tmp_path: Path, steps: int, rows: list[int]) -> None:
    stage = toy_stage(tmp_path, replace(SETTINGS, steps=steps, report_seconds=0.0))
    stage.run(loss_for(stage), print)
    told = [json.loads(line)["step"] for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert told == rows


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    good = loss_for(stage)

    def plan(step: int):
        choice, loss_of = good(step)

        def loss() -> Loss:
            loss, figures = loss_of()
            return (loss * float("nan") if step == 5 else loss), figures

        return choice, loss

    with pytest.raises(FloatingPointError, match="step 5"):
        stage.run(plan, print)
    assert toy_stage(tmp_path).step == 5


def test_the_average_is_what_a_stage_delivers(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    stage.run(loss_for(stage), print)
    before = weights(stage)
    stage.load_average()
    assert weights(stage) != before
    assert weights(stage) == [v for p in stage.average.values() for v in p.flatten().tolist()]


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate_at(step, max(0, step - 3) / 9, SETTINGS) for step in range(12)]
    assert rates[0] == pytest.approx(0.05 / 3)
    assert max(rates) == pytest.approx(0.05)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert learning_rate_at(12, 1.0, SETTINGS) == pytest.approx(0.0025)


def test_a_stage_with_seconds_ends_when_they_are_over(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path, replace(SETTINGS, steps=10**9, seconds=0.05))
    stage.run(loss_for(stage), print)
    assert stage.finished
    assert stage.progress == 1.0
    assert 2 < stage.step < 10**6
    again = toy_stage(tmp_path, stage.settings)
    assert (again.finished, again.step) == (True, stage.step)
