"""The studio: chance comes from the number of the step, crops are shared out over a team."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from pixart_cli.features.train.gallery import Part
from pixart_cli.features.train.loop import Stage, StageSettings
from pixart_cli.features.train.recipe import MiniRecipe
from pixart_cli.features.train.studio import Studio
from pixart_cli.features.train.team import Team

SETTINGS = StageSettings(name="toy", steps=4, learning_rate=1e-3, warmup_steps=0)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, MiniRecipe(), Team(), torch.device("cpu"), print)


def toy(studio: Studio) -> Stage:
    return studio.stage(nn.ModuleDict({"line": nn.Linear(2, 2)}), SETTINGS)


def drawn(studio: Studio, step: int) -> tuple[float, float]:
    stage = toy(studio)
    rng = studio.begin(stage, step)
    return rng.random(), torch.rand(1, generator=stage.generator).item()


def test_a_step_has_its_own_chance_however_it_is_reached(studio: Studio) -> None:
    assert drawn(studio, 3) == drawn(studio, 3)
    assert drawn(studio, 3) != drawn(studio, 4)
    other = dataclasses.replace(studio, recipe=MiniRecipe(seed=1))
    assert drawn(other, 3) != drawn(studio, 3)


def test_processes_of_a_team_see_different_pictures(studio: Studio) -> None:
    first, second = (dataclasses.replace(studio, team=Team(rank, 2)) for rank in (0, 1))
    assert drawn(first, 3) != drawn(second, 3)


def test_a_crowd_is_shared_out_over_the_team(studio: Studio) -> None:
    crowd = MiniRecipe(crowd=3)
    shares = [dataclasses.replace(studio, recipe=crowd, team=Team(rank, 2)) for rank in (0, 1)]
    assert [each.crowd([(0.5, 5, 64), (1.0, 2, 96)]) for each in shares] == [
        [(0.5, 8, 64), (1.0, 3, 96)],
        [(0.5, 7, 64), (1.0, 3, 96)],
    ]


def test_a_step_takes_its_crops_from_a_part_by_the_schedule(studio: Studio) -> None:
    stage = toy(studio)
    parts = [Part(64, 64, range(2), 0.0), Part(64, 32, range(2), 1.0)]
    schedule = [(0.5, 5, 64), (1.0, 2, 96)]
    assert studio.choose(stage, 0, parts, schedule) == (1, 5, 64)
    stage.step = 4
    assert studio.choose(stage, 4, parts, schedule) == (1, 2, 96)
