"""Where the built-in model is trained: folder, recipe, team and device, which every stage needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pixart_cli.features.train.autoencoder import Crops, count_and_side
from pixart_cli.features.train.gallery import Part, choose
from pixart_cli.features.train.loop import Stage, StageSettings
from pixart_cli.features.train.recipe import MiniRecipe
from pixart_cli.features.train.team import Team

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Report = Callable[[str], None]


@dataclass(frozen=True)
class Studio:
    """What every stage needs: where it works, by which recipe, with whom, on what."""

    run: Path
    recipe: MiniRecipe
    team: Team
    device: torch.device
    report: Report

    def stage(self, modules: nn.ModuleDict, settings: StageSettings, *matrices: Tensor) -> Stage:
        """A stage of this run, gone on with where it was."""
        return Stage(modules, settings, self.run, self.team, matrices)

    def begin(self, stage: Stage, step: int) -> Random:
        """Seed the stage's generator for `step`; what is chosen in Python is drawn from what comes back."""
        rng = Random(self.team.chance(f"{self.recipe.seed} {stage.settings.name} {step}"))
        stage.generator.manual_seed(rng.getrandbits(62))
        return rng

    def choose(self, stage: Stage, step: int, parts: Sequence[Part], schedule: Crops) -> tuple[int, int, int]:
        """Which of `parts` a step takes its crops from, how many, and their side."""
        number = choose(parts, self.begin(stage, step))
        return number, *count_and_side(schedule, stage.progress)

    def crowd(self, schedule: Crops) -> Crops:
        """This process's share of the crops of `schedule`, `recipe.crowd` times as many."""
        return [(until, self.team.share(n * self.recipe.crowd), side) for until, n, side in schedule]
