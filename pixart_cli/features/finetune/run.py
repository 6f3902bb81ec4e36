"""A training run from its plan to its result: cache, network, loop, samples, export, plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.publish import publish
from pixart_cli.features.finetune.build import build_network, build_trainer
from pixart_cli.features.finetune.exports import Exports, refuse_results
from pixart_cli.features.finetune.facts import facts_of
from pixart_cli.features.finetune.folder import SKIPPED, alone_in, start_over
from pixart_cli.features.finetune.metrics import Metrics, can_plot, draw_plots
from pixart_cli.features.finetune.pictures import Skipped
from pixart_cli.features.finetune.places import result_path
from pixart_cli.features.finetune.plan import Lesson, TrainPlan
from pixart_cli.features.finetune.prepare import Cache, OnEvent, TrainEvent
from pixart_cli.features.finetune.previews import SAMPLES, Previews
from pixart_cli.features.finetune.relief import line_of, memory_named

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pixart_cli.diffusion.training.trainer import Figures, Trainer

_SHOWN: Final = 12
# One process encodes and draws while the others wait, for hours where there is much; of one that dies
# torchrun ends the others.
_PATIENCE: Final = timedelta(days=7)
Hold = Callable[[], AbstractContextManager[Callable[[], bool]]]


@dataclass(kw_only=True)
class Trained:
    """A finished run: `path` is what can be drawn with; `steps` were made, `resumed` of them before."""

    path: Path
    steps: int
    resumed: int
    pictures: int
    skipped: tuple[Skipped, ...]
    loss: float | None = None
    plots: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def never() -> AbstractContextManager[Callable[[], bool]]:
    """A hold on signals where there are none."""
    return nullcontext(lambda: False)


def train(plan: TrainPlan, *, anew: bool = False, hold: Hold = never, on_event: OnEvent) -> Trained:
    """Run `plan`, from its last checkpoint if there is one, to its result.

    Args:
        anew: remove what an earlier run left first.
        hold: a context in which signals wait, and a question whether one came; the loop then saves and ends,
            and leaving the context raises the signal.

    Raises:
        PixartError: "config-invalid" for a run that cannot go on as configured, "loss-invalid",
            "out-of-memory" naming the setting to lower, "disk", "weights-invalid"; "output-invalid" when
            something else stands in the result's place, or another pixart trains there.
    """
    refuse_results(plan)
    with alone_in(plan):
        if anew and plan.here.leads:
            start_over(plan)
        with _accelerated(plan) as accelerator, memory_named(plan):
            return _Training(plan, accelerator, hold, on_event).result()


@contextmanager
def _accelerated(plan: TrainPlan) -> Iterator[Accelerator]:
    """accelerate as the plan wants it; its state, which is global, is this run's alone."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    if plan.memory.device.startswith("cuda"):
        import torch

        torch.cuda.set_device(plan.memory.device)  # where accelerate goes unless torchrun says otherwise
    loggers = ["tensorboard"] if plan.config.tensorboard else None
    accelerator = Accelerator(
        cpu=plan.memory.on_cpu,
        mixed_precision="bf16" if plan.precision == "bfloat16" else "no",
        gradient_accumulation_steps=plan.config.accumulate,
        log_with=loggers,
        project_dir=plan.config.out,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    try:
        yield accelerator
    finally:
        if plan.here.alone:
            AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 -- no other way


class _Training:
    def __init__(self, plan: TrainPlan, accelerator: Accelerator, hold: Hold, on_event: OnEvent) -> None:
        self._plan, self._accelerator, self._hold = plan, accelerator, hold
        self._leads: bool = accelerator.is_main_process
        self._on_event: OnEvent = on_event if self._leads else _say_nothing
        self._folder = Path(plan.config.out)
        self._cache = Cache(plan)
        self._warnings: list[str] = []
        self._previews = Previews(plan, accelerator, self._cache, self._on_event)
        self._figures: Figures | None = None
        self._pace: float | None = None

    def result(self) -> Trained:
        """Prepare, train what is left, export and plot; what came of it."""
        plan = self._plan
        if plan.config.plots and not can_plot():
            self._warnings.append("no plots without matplotlib: pip install 'pixart-cli[train]'")
        # No setting of the training makes the VAE or the text encoder smaller.
        with memory_named(plan, "Close other programs and run it again: what was read is kept."):
            lessons, skipped = self._prepared()
        if words := self._cache.untaught(each.picture.caption for each in lessons):
            shown = ", ".join(words[:_SHOWN]) + (", …" if len(words) > _SHOWN else "")
            self._warnings.append(f"{plan.spec.name} has no words for: {shown}")
        revision = self._cache.installed.revision
        network, lora = build_network(plan)
        trainer = build_trainer(
            plan, network, facts_of(plan, lessons, self._cache.vae_digest), self._accelerator
        )
        exports, resumed = Exports(plan, lora, revision), trainer.step
        self._export_due(exports, trainer)
        if not trainer.finished:
            self._loop(trainer, lessons, exports)
        plots: list[Path] = []
        if self._leads:
            exports.write(trainer)
            if plan.config.plots and can_plot():
                plots = draw_plots(self._folder, self._folder / SAMPLES)
        self._accelerator.wait_for_everyone()
        return Trained(
            path=result_path(plan.config), steps=trainer.step, resumed=resumed, pictures=len(lessons),
            skipped=skipped, loss=self._figures.loss if self._figures else None, plots=plots,
            warnings=self._warnings,
        )  # fmt: skip

    def _prepared(self) -> tuple[list[Lesson], tuple[Skipped, ...]]:
        """Everything cached: the pictures that can be learned from, and all that cannot."""
        from accelerate.utils import gather_object

        plan, here = self._plan, self._plan.here
        share = plan.lessons[here.rank :: here.size]
        found = self._cache.read_pictures(share, self._on_event)
        texts = ["", *plan.config.sample_prompts, *(each.picture.caption for each in plan.lessons)]
        # The first process alone needs those of samples, and every process the empty one: all are shared.
        self._cache.read_captions(texts if here.leads else [], self._on_event)
        every = [*plan.skipped, *(found if here.alone else gather_object(found))]
        self._accelerator.wait_for_everyone()
        bad = {each.name for each in every}
        if not here.leads:  # what is not there was read on a machine with another disk
            self._cache.read_captions(texts, self._on_event)
        self._cache.read_pictures(
            [each for each in plan.lessons if each.picture.name not in bad], self._on_event
        )
        lessons = [each for each in plan.lessons if self._cache.name_of(each) in self._cache.latents]
        if not any(not each.of_class for each in lessons):
            what = f"none of {len(plan.lessons)} pictures can be read; {every[-1].name}: {every[-1].why}"
            raise plan.config.refuse("data", what, "Put whole pictures there.")
        if self._leads:
            rows = [json.dumps({"name": each.name, "why": each.why}) + "\n" for each in every]
            publish("".join(rows).encode(), self._folder / SKIPPED, force=True)
        return lessons, tuple(every)

    def _loop(self, trainer: Trainer, lessons: list[Lesson], exports: Exports) -> None:
        metrics = Metrics(self._folder, trainer.step) if self._leads else None
        config = self._plan.config
        if config.tensorboard:
            self._accelerator.init_trackers("tensorboard")
        if config.sample_every and trainer.step == 0:
            self._draw_samples(trainer)
        with self._hold() as stopping:
            parts = self._samples(lessons)
            for figures in trainer.train(parts, stopping):
                self._figures = figures
                self._tell(figures)
                if metrics and (figures.step % config.log_every == 0 or figures.step in (1, config.steps)):
                    metrics.add(_row(figures))
                self._export_due(exports, trainer)
                if config.sample_every and (figures.step % config.sample_every == 0 or trainer.finished):
                    self._draw_samples(trainer)
            if not trainer.finished:
                text = "the same command goes on from here"
                told = TrainEvent(stage="saved", done=trainer.step, total=config.steps, text=text)
                self._on_event(told)
        if config.tensorboard:
            self._accelerator.end_training()

    def _draw_samples(self, trainer: Trainer) -> None:
        """Draw the samples; where that fails, what was learned is saved first."""
        line = line_of(self._plan, "sample_every")
        hint = f"Set sample_every = 0{line}: drawing needs memory of its own."
        try:
            with memory_named(self._plan, hint):
                self._previews.draw(trainer)
        except PixartError:
            if trainer.step:
                trainer.save()
            raise

    def _samples(self, lessons: list[Lesson]) -> Callable[[int, int], Any]:
        from pixart_cli.diffusion.training.batches import BatchPlan
        from pixart_cli.diffusion.training.samples import Sample, Samples

        plan, config = self._plan, self._plan.config
        samples = [
            Sample(
                latents=self._cache.name_of(each), caption=each.picture.caption,
                weight=config.prior_weight if each.of_class else 1.0,
            )
            for each in lessons
        ]  # fmt: skip
        extra = frozenset(index for index, each in enumerate(lessons) if each.of_class)
        batches = BatchPlan([each.bucket for each in lessons], plan.team.whole, config.seed, extra)
        return Samples(
            samples, self._cache.latents, self._cache.embeds,
            plan=batches, team=plan.team, seed=config.seed, dropout=config.caption_dropout,
        ).part  # fmt: skip

    def _tell(self, figures: Figures) -> None:
        text = f"loss {figures.loss:.4f}  rate {figures.learning_rate:.3g}"
        steps = self._plan.config.steps
        self._pace = figures.seconds if self._pace is None else 0.95 * self._pace + 0.05 * figures.seconds
        left = self._pace * (steps - figures.step)
        told = TrainEvent(stage="train", done=figures.step, total=steps, text=text, seconds_left=left)
        self._on_event(told)
        if self._plan.config.tensorboard and figures.step % self._plan.config.log_every == 0:
            row = _row(figures)
            self._accelerator.log({key: row[key] for key in row if key != "step"}, step=figures.step)

    def _export_due(self, exports: Exports, trainer: Trainer) -> None:
        """Export after this step, where that is wanted; by the first process, the others wait."""
        if exports.is_due(trainer.step):
            if self._leads:
                exports.write(trainer, trainer.step)
            self._accelerator.wait_for_everyone()


def _row(figures: Figures) -> dict[str, Any]:
    return {
        "step": figures.step,
        "loss": round(figures.loss, 6),
        "learning_rate": float(f"{figures.learning_rate:.6g}"),
        "gradient_norm": round(figures.gradient_norm, 6),
        "seconds": round(figures.seconds, 4),
    }


def _say_nothing(_event: TrainEvent) -> None:
    """Another process tells."""
