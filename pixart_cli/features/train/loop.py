"""One training loop for every stage: steps that can be stopped at any moment and continued where they were.

A batch is a function of the step number alone, so a checkpoint holds no data state: weights, optimizer,
average and step are enough, and a continued run sees the batches the unbroken one would have seen.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pixart_cli.features.train.team import Team

LossOfStep = Callable[[int], tuple[Tensor, dict[str, float]]]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How long and how fast one stage learns; the rate warms up, then falls as a cosine to a twentieth."""

    name: str
    steps: int
    learning_rate: float
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip: float = 1.0
    ema_decay: float = 0.999
    checkpoint_seconds: float = 90.0
    report_seconds: float = 30.0


def learning_rate_at(step: int, settings: StageSettings) -> float:
    """The learning rate of `step` (counted from 0)."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))


class Stage:
    """Weights in training, their moving average, the optimizer and the step reached.

    The average is what a stage delivers. Its decay grows from 0.9 to `ema_decay` as steps are made.
    """

    def __init__(self, modules: nn.ModuleDict, settings: StageSettings, folder: Path, team: Team) -> None:
        self.modules, self.settings, self._team = modules, settings, team
        self.path = folder / f"{settings.name}.pt"
        self._metrics = folder / f"{settings.name}.jsonl"
        self.optimizer = torch.optim.AdamW(
            modules.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.average = {k: v.detach().clone().float() for k, v in modules.state_dict().items()}
        self.step = 0
        if self.path.exists():
            self._restore()

    @property
    def finished(self) -> bool:
        """Whether every step has been made."""
        return self.step >= self.settings.steps

    def run(self, loss_of_step: LossOfStep, report: Report) -> None:
        """Make the steps that are left, saving every `checkpoint_seconds`.

        Raises:
            FloatingPointError: if the loss is not finite; the last good checkpoint stays.
        """
        if self.finished:
            return
        self.modules.train()
        saved = reported = time.monotonic()
        while not self.finished:
            figures = self._make_step(loss_of_step)
            now = time.monotonic()
            if now - reported >= self.settings.report_seconds:
                reported = now
                self._report(figures, report)
            if now - saved >= self.settings.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        self.save()

    def _make_step(self, loss_of_step: LossOfStep) -> dict[str, float]:
        rate = learning_rate_at(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, figures = loss_of_step(self.step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.settings.name}: loss is {loss.item()} at step {self.step}")
        loss.backward()
        self._team.average_gradients(self.modules.parameters())
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._move_average()
        return {"loss": loss.item(), "rate": rate, **figures}

    @torch.no_grad()
    def _move_average(self) -> None:
        keep = min(self.settings.ema_decay, max(0.9, 1.0 - 20.0 / (self.step + 20.0)))
        for name, value in self.modules.state_dict().items():
            self.average[name].lerp_(value.float(), 1.0 - keep)

    def load_average(self) -> None:
        """Put the average into the modules, for use."""
        self.modules.load_state_dict(self.average)
        self.modules.eval()

    def save(self) -> None:
        """Write the checkpoint beside its place and rename it: there is always one whole checkpoint."""
        if not self._team.leads:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        state = {
            "modules": self.modules.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(state, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def _restore(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step = int(state["step"])

    def _report(self, figures: dict[str, float], report: Report) -> None:
        if not self._team.leads:
            return
        row = {"step": self.step, **{k: round(v, 6) for k, v in figures.items()}}
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        shown = "  ".join(f"{k} {v:.4g}" for k, v in figures.items())
        report(f"{self.settings.name}: step {self.step}/{self.settings.steps}  {shown}")
