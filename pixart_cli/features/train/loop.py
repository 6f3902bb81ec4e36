"""One training loop for every stage: steps that can be stopped at any moment and continued where they were.

A batch is a function of the step number alone, so a checkpoint holds no data state: weights, optimizer,
average and step are enough, and a continued run sees the batches the unbroken one would have seen.

What a step does is in two parts. The first, in Python, chooses shapes by the number of the step and seeds
the generator; the second is nothing but operations on tensors, the same ones for the same choice, so that a
GPU can play them back (`captured.py`).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pixart_cli.features.train.captured import Captured, Figures
from pixart_cli.features.train.muon import Muon
from pixart_cli.features.train.team import Team

Loss = tuple[Tensor, Figures]
# Of the number of a step: what its shapes depend on, and what then gives its loss, drawing all random
# numbers from the stage's generator.
Step = tuple[Hashable, Callable[[], Loss]]
Plan = Callable[[int], Step]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How long and how fast one stage learns; the rate warms up, then falls as a cosine to a twentieth.

    A stage with `seconds` ends after that many of training, if it has not made its `steps` before. With
    `muon` the matrices that a stage names are moved by Muon, at the same rate.
    """

    name: str
    steps: int
    seconds: float | None = None
    learning_rate: float
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip: float = 1.0
    muon: bool = False
    ema_decay: float = 0.999
    checkpoint_seconds: float = 90.0
    report_seconds: float = 30.0
    finite_every: int = 50


def learning_rate_at(step: int, progress: float, settings: StageSettings) -> float:
    """The learning rate of `step` (counted from 0), at `progress` 0..1 of the stage."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def is_finished(settings: StageSettings, folder: Path) -> bool:
    """Whether the stage of these settings has been learned in `folder` to its end."""
    path = _checkpoint(settings, folder)
    if not path.exists():
        return False
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return _is_over(settings, state["step"], state["seconds"])


def _checkpoint(settings: StageSettings, folder: Path) -> Path:
    return folder / f"{settings.name}.pt"


def _is_over(settings: StageSettings, step: int, seconds: float) -> bool:
    return step >= settings.steps or (settings.seconds is not None and seconds >= settings.seconds)


class Stage:
    """Weights in training, their moving average, the optimizer and the step reached.

    The average is what a stage delivers. Its decay grows from 0.9 to `ema_decay` as steps are made.
    """

    def __init__(
        self,
        modules: nn.ModuleDict,
        settings: StageSettings,
        folder: Path,
        team: Team,
        matrices: Sequence[Tensor] = (),
    ) -> None:
        self.modules, self.settings, self._team = modules, settings, team
        self.path = _checkpoint(settings, folder)
        self._metrics = folder / f"{settings.name}.jsonl"
        device = next(modules.parameters()).device
        self.generator = torch.Generator(device)
        plays_back = device.type == "cuda" and team.size == 1
        self._captured = Captured(self.generator) if plays_back else None
        self.optimizers = self._optimizers(matrices if settings.muon else (), plays_back)
        self.average = {k: v.detach().clone().float() for k, v in modules.state_dict().items()}
        self._share = torch.zeros((), device=device)  # of the new weights in the average
        self.step, self.seconds = 0, 0.0
        if self.path.exists():
            self._restore()

    def _optimizers(self, matrices: Sequence[Tensor], plays_back: bool) -> list[torch.optim.Optimizer]:
        """AdamW, and Muon for `matrices`; rates are on the device where a GPU reads them."""
        settings, turned = self.settings, {id(matrix) for matrix in matrices}

        def rate() -> float | Tensor:
            whole = settings.learning_rate
            return torch.tensor(whole, device=self.generator.device) if plays_back else whole

        adamw = torch.optim.AdamW(
            [weight for weight in self.modules.parameters() if id(weight) not in turned],
            lr=rate(),
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=plays_back,
        )
        return [adamw, Muon(matrices, rate(), team=self._team)] if matrices else [adamw]

    @property
    def progress(self) -> float:
        """How much of the stage is done, 0..1: of its steps, or of its seconds where that is more."""
        settings = self.settings
        warm = settings.warmup_steps
        steps = max(0, self.step - warm) / max(1, settings.steps - warm)
        return min(1.0, max(steps, self.seconds / settings.seconds if settings.seconds else 0.0))

    @property
    def finished(self) -> bool:
        """Whether every step has been made, or the time is over."""
        return _is_over(self.settings, self.step, self.seconds)

    def run(self, plan: Plan, report: Report) -> None:
        """Make the steps that are left, saving every `checkpoint_seconds`.

        Raises:
            FloatingPointError: if the loss is not finite; the last good checkpoint stays.
        """
        if self.finished:
            return
        self.modules.train()
        figures = self._make_step(plan)  # not timed: compiling is part of it
        saved = reported = before = time.monotonic()
        told = -1
        while not self.finished:
            figures = self._make_step(plan)
            now = time.monotonic()
            self.seconds = self._team.agreed(self.seconds + now - before)
            before = now
            if now - reported >= self.settings.report_seconds:
                reported, told = now, self.step
                self._report(figures, report)
            if now - saved >= self.settings.checkpoint_seconds:
                self.save(figures["loss"])
                saved = time.monotonic()
        if told != self.step:
            self._report(figures, report)
        self.save(figures["loss"])

    def _make_step(self, plan: Plan) -> Figures:
        rate = learning_rate_at(self.step, self.progress, self.settings)
        for group in (group for each in self.optimizers for group in each.param_groups):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._share.fill_(1.0 - min(self.settings.ema_decay, max(0.9, 1.0 - 20.0 / (self.step + 21.0))))
        choice, loss_of = plan(self.step)
        if self._captured is None:
            figures = self._step(loss_of, eager=True)
        else:
            figures = self._captured.make(choice, lambda: self._step(loss_of, eager=False))
            # Looking at the loss waits for the GPU: not at every step.
            if self.step % self.settings.finite_every == 0:
                self._check(figures["loss"])
        self.step += 1
        return {**figures, "rate": torch.tensor(rate)}

    def _step(self, loss_of: Callable[[], Loss], *, eager: bool) -> Figures:
        """Loss, gradients, weights and average, with no look at any number unless `eager`."""
        loss, figures = loss_of()
        if eager:
            self._check(loss)
        loss.backward()
        self._team.average_gradients(self.modules.parameters())
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._move_average()
        return {"loss": loss.detach(), **figures}

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self.settings.name}: loss is {loss.item()} at step {self.step}")

    @torch.no_grad()
    def _move_average(self) -> None:
        for name, value in self.modules.state_dict().items():
            self.average[name].lerp_(value.float(), self._share)

    def load_average(self) -> None:
        """Put the average into the modules, for use."""
        self.modules.load_state_dict(self.average)
        self.modules.eval()

    def save(self, loss: Tensor) -> None:
        """Write the checkpoint beside its place and rename it: there is always one whole checkpoint.

        Raises:
            FloatingPointError: if `loss`, the last one, is not finite.
        """
        self._check(loss)
        if not self._team.leads:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        state = {
            "modules": self.modules.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def _restore(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        self.modules.load_state_dict(state["modules"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(kept)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate  # on its device, where a GPU reads it
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def _report(self, tensors: dict[str, Tensor], report: Report) -> None:
        if not self._team.leads:
            return
        figures = {name: value.item() for name, value in tensors.items()}
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            **{k: round(v, 6) for k, v in figures.items()},
        }
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        shown = "  ".join(f"{k} {v:.4g}" for k, v in figures.items())
        report(f"{self.settings.name}: step {self.step}/{self.settings.steps}  {shown}")
