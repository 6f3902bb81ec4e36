"""The loop: forward, backward, one step of the optimizer, a checkpoint now and then. On accelerate.

Everything a step does is a function of its number (`samples`), so weights, average, optimizer and the number
are all that a checkpoint needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.sampling import micro_conditions
from pixart_cli.diffusion.training.average import Average
from pixart_cli.diffusion.training.batches import Team
from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.diffusion.training.optimizer import Pace, build_optimizer
from pixart_cli.diffusion.training.samples import Batch
from pixart_cli.diffusion.training.snapshot import (
    Snapshot,
    copy_into,
    load_snapshot,
    save_snapshot,
    snapshots_in,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

Parts = Callable[[int, int], Batch]
Stopping = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one step gave: `step` counts those that are made; `seconds` is its wall time."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run is made and kept. `facts` are what a continued run must have in common with its beginning."""

    pace: Pace
    team: Team
    objective: Objective
    folder: Path
    facts: Mapping[str, Any]
    clip: float = 1.0
    ema: float = 0.0
    save_every: int = 500
    keep: int = 2


class Trainer:
    """Trains those weights of `transformer` that want a gradient.

    Raises:
        PixartError: "weights-invalid" when the last checkpoint in the run's folder fits another network.
    """

    def __init__(
        self, transformer: PixArtSigmaTransformer2DModel, run: Run, accelerator: Accelerator
    ) -> None:
        self.transformer, self.run, self._accelerator = transformer, run, accelerator
        transformer.train().to(accelerator.device)
        self.weights = {k: v for k, v in transformer.named_parameters() if v.requires_grad}
        self.average = Average(self.weights, run.ema)
        optimizer = build_optimizer(self.weights.values(), run.pace)
        self.step, self._saved = 0, -1
        found = snapshots_in(run.folder)
        if found:
            self._restore(found[-1], optimizer)
        prepared: tuple[Any, Any] = accelerator.prepare(transformer, optimizer)
        self._network, self._optimizer = prepared

    @property
    def finished(self) -> bool:
        """Whether every step has been made."""
        return self.step >= self.run.pace.steps

    def train(self, parts: Parts, stopping: Stopping) -> Iterator[Figures]:
        """Make the steps that are left and give the figures of each; saves every `save_every` steps.

        Ends early, after saving, when `stopping` says so in any of the processes.

        Raises:
            PixartError: "loss-invalid" when loss or gradient are not finite: the step is not made, and the
                last checkpoint stays as it is; "disk".
        """
        with _ahead(parts, self.run.team.accumulate) as fetch:
            while not self.finished:
                began = time.monotonic()
                loss, norm, stop = self._make_step(fetch(self.step), stopping)
                self.step += 1
                self.average.move(self.step)
                if stop or self._is_due():
                    self.save()
                yield Figures(
                    step=self.step, loss=loss, gradient_norm=norm, seconds=time.monotonic() - began,
                    learning_rate=self.run.pace.rate(self.step - 1),
                )  # fmt: skip
                if stop:
                    return

    def _is_due(self) -> bool:
        return self.finished or self.step % self.run.save_every == 0

    def save(self) -> None:
        """Write a checkpoint, by the first process alone; the others wait."""
        if self._accelerator.is_main_process and self._saved != self.step:
            snapshot = Snapshot(
                step=self.step, weights={k: v.detach() for k, v in self.weights.items()},
                average=self.average.tensors, optimizer=self._optimizer.state_dict(), facts=self.run.facts,
            )  # fmt: skip
            save_snapshot(self.run.folder, snapshot, keep=self.run.keep)
        self._saved = self.step
        self._accelerator.wait_for_everyone()

    def _restore(self, path: Path, optimizer: torch.optim.Optimizer) -> None:
        saved = load_snapshot(path)
        copy_into(self.weights, saved.weights, path)
        copy_into(self.average.tensors, saved.average, path)
        optimizer.load_state_dict(dict(saved.optimizer))
        self.step = self._saved = saved.step

    def _make_step(self, batches: list[Batch], stopping: Stopping) -> tuple[float, float, bool]:
        """(loss, norm of the gradient, whether to stop) over all processes."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.run.pace.rate(self.step)
        total = torch.zeros((), device=self._accelerator.device)
        for batch in batches:
            with self._accelerator.accumulate(self._network):
                loss = loss_of(
                    self._network, self.transformer, self.run.objective, batch.to(self._accelerator.device)
                )
                self._accelerator.backward(loss)
                total += loss.detach() / len(batches)
        told = torch.stack([total, torch.tensor(float(stopping()), device=total.device)])
        mean, stop = self._accelerator.reduce(told, reduction="mean").tolist()
        norm = self._clipped()
        self._refuse_infinite(mean, norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return mean, norm, stop > 0

    def _clipped(self) -> float:
        """The norm of the gradient, which is cut to `clip` where that is not 0."""
        most = self.run.clip or math.inf
        return float(self._accelerator.clip_grad_norm_(self.weights.values(), most))

    def _refuse_infinite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = "the loss" if not math.isfinite(loss) else "the gradient"
        kept = snapshots_in(self.run.folder)
        last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise PixartError(
            "loss-invalid",
            f"{what} was no number at step {self.step + 1}; {last}",
            'Lower learning_rate, lengthen warmup_steps, or set precision = "float32"; then run it again.',
        )


def loss_of(
    model: Callable[..., Any], network: PixArtSigmaTransformer2DModel, objective: Objective, batch: Batch
) -> Tensor:
    """The mean loss over `batch`, each sample as much as its weight says.

    Args:
        model: `network`, or what accelerate wrapped around it.
    """
    noisy = objective.noisy(batch.latents, batch.noise, batch.timesteps)
    told = micro_conditions(network, noisy, noisy.dtype)
    output = model(
        noisy, encoder_hidden_states=batch.embeds, encoder_attention_mask=batch.mask,
        timestep=batch.timesteps, return_dict=False,
        added_cond_kwargs={k: None if v is None else v.expand(len(noisy), -1) for k, v in told.items()},
    )[0]  # fmt: skip
    losses = objective.losses(output, batch.latents, batch.noise, batch.timesteps)
    return (losses * batch.weights).mean()


@contextmanager
def _ahead(parts: Parts, accumulate: int) -> Iterator[Callable[[int], list[Batch]]]:
    """Within, a function that gives the batches of a step; those of the next are fetched meanwhile."""

    def fetch(step: int) -> list[Batch]:
        return [parts(step, part) for part in range(accumulate)]

    with ThreadPoolExecutor(1) as pool:
        waiting: dict[int, Future[list[Batch]]] = {}

        def given(step: int) -> list[Batch]:
            now = waiting.pop(step) if step in waiting else pool.submit(fetch, step)
            waiting.clear()
            waiting[step + 1] = pool.submit(fetch, step + 1)
            return now.result()

        yield given
