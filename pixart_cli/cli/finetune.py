"""`pixart train CONFIG.toml`: the plan, the run, and what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import Door, door_of
from pixart_cli.cli.output import Printer, as_typed, size_words, table, time_words
from pixart_cli.cli.progress import TrainProgress
from pixart_cli.cli.signals import Watch
from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.features.finetune.plan import TrainPlan
    from pixart_cli.features.finetune.run import Trained

SCHEMA: Final = "pixart.train/1"
_SHOWN: Final = 3
_STOPPING: Final = "finishing this step, then saving; once more stops at once\n"

Config = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to train, on what, how.")]
Recipe = Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="The recipe to start from.")]
Model = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to train.")]
Data = Annotated[str | None, typer.Option("--data", metavar="DIR", help="Folder of pictures with captions.")]
Out = Annotated[str | None, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run.")]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Steps of the optimizer.")]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, mps or cuda[:N].")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Begin anew, and remove an earlier run's files.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")]
Mode = Annotated[
    Literal["auto", "bar", "plain", "none"], typer.Option("--progress", help="How progress is shown.")
]


def finetune(
    context: typer.Context,
    config: Config,
    recipe: Recipe = None,
    model: Model = None,
    data: Data = None,
    out: Out = None,
    steps: Steps = None,
    device: Device = None,
    force: Force = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    progress: Mode = "auto",
    json: options.AsJson = False,
) -> None:
    """Train as CONFIG.toml says. Stop it at any time: the same command goes on where it was.

    \b
    Examples:
      pixart train ink.toml --dry-run
      pixart train ink.toml
      pixart gen "a lighthouse" -m sigma-512 --lora ink/lora -o lighthouse.png
    """
    door = door_of(context, as_json=json)
    printer = door.printer
    printer.quiet |= quiet
    from pixart_cli.features.finetune.config import read_config

    typed = {"recipe": recipe, "model": model, "data": data, "out": out, "steps": steps, "device": device}
    wish = read_config(config, typed)
    from pixart_cli.features.finetune.plan import plan_training

    plan = plan_training(wish)
    if plan.here.leads:
        _tell(printer, plan, whole=dry_run)
    if dry_run:
        if plan.here.leads:
            printer.document(SCHEMA, dry_run=True, plan=_plan_dict(plan))
        return
    done = _run(door, plan, progress, force=force)
    if plan.here.leads:
        _finish(printer, plan, done)


def recipes(context: typer.Context, json: options.AsJson = False) -> None:
    """List the recipes that a configuration can start from: recipe = "NAME"."""
    printer = door_of(context, as_json=json).printer
    from pixart_cli.core.toml_file import read_settings
    from pixart_cli.features.finetune.config import recipe_files
    from pixart_cli.features.finetune.table import RECIPE_KEYS

    files = recipe_files()
    rows = {name: read_settings(path, RECIPE_KEYS, code="config-invalid") for name, path in files.items()}
    printer.data(table([(name, row.get("description", "")) for name, row in rows.items()]))
    told = [{"name": name, "source": str(files[name])} | row for name, row in rows.items()]
    printer.document(SCHEMA, recipes=told)


def _run(door: Door, plan: TrainPlan, progress: str, *, force: bool) -> Trained:
    from pixart_cli.features.finetune.run import train

    bars = TrainProgress(door.printer, progress if plan.here.leads else "none")
    try:
        with bars.shown() as on_event:
            return train(plan, anew=force, hold=lambda: _held(door.watch), on_event=on_event)
    except PixartError as error:
        if door.watch.ended_by is not None:  # which will be all that is told: but nothing was saved
            door.printer.trouble(error)
        raise


@contextlib.contextmanager
def _held(watch: Watch) -> Iterator[Callable[[], bool]]:
    """Within, a signal waits until the loop, which asks whether one came, has saved."""
    with watch.deferred(_STOPPING):
        yield lambda: watch.ended_by is not None


def _tell(printer: Printer, plan: TrainPlan, *, whole: bool) -> None:
    """The plan, as data where it was asked for."""
    rows = _rows(plan)
    if whole:
        printer.data(table(rows))
    else:
        printer.say(table(rows))
    if plan.skipped:
        first = "; ".join(f"{each.name}: {each.why}" for each in plan.skipped[:_SHOWN])
        more = f"; and {len(plan.skipped) - _SHOWN} more" if len(plan.skipped) > _SHOWN else ""
        printer.warn(f"{len(plan.skipped)} skipped: {first}{more}")
    if plan.enlarged:
        printer.warn(f"{plan.enlarged} of {len(plan.lessons)} pictures are smaller than {plan.native} px")
    if plan.estimate_bytes > plan.free_bytes:
        from pixart_cli.features.finetune.relief import relief

        printer.warn(f"it may not fit into {size_words(plan.free_bytes)} of memory. {relief(plan)}")


def _rows(plan: TrainPlan) -> list[tuple[str, str]]:
    config, team = plan.config, plan.team
    batch = f"{team.batch_size} x {team.accumulate} accumulated x {team.processes} processes"
    shapes = ", ".join(f"{count} at {size}" for size, count in list(plan.shapes().items())[:4])
    seconds = plan.seconds_estimate
    rows = [
        ("model", f"{config.model}, {plan.parameters:,} parameters"),
        ("trains", f"{config.method}: about {plan.trained:,} parameters in {plan.precision}"),
        ("changes", _changes(plan)),
        ("pictures", f"{len(plan.lessons)}: {shapes}"),
        ("steps", f"{config.steps} of {team.whole} pictures ({batch}), {plan.epochs:.3g} epochs"),
        ("optimizer", f"{config.optimizer}, rate {config.learning_rate:g}, {config.schedule}"),
        ("loss", _loss(plan)),
        ("device", plan.memory.device),
        ("memory", f"about {size_words(plan.estimate_bytes)} of {size_words(plan.free_bytes)} free"),
        ("time", "unknown" if seconds is None else f"about {time_words(seconds)}"),
        ("result", str(_result(plan))),
    ]
    return [row for row in rows if row[1]]


def _result(plan: TrainPlan) -> Path:
    from pixart_cli.features.finetune.places import result_path

    return result_path(plan.config)


def _changes(plan: TrainPlan) -> str:
    config, words = plan.config, []
    if config.vae:
        words.append(f"the VAE becomes {config.vae}")
    if plan.native != plan.spec.native:
        how = "interpolated" if config.interpolate_positions else "not interpolated"
        words.append(f"{plan.spec.native} px become {plan.native}, positions {how}")
    if config.kv_compression != "off":
        words.append(f"keys and values are compressed, {config.kv_compression}, {config.kv_start} start")
    return "; ".join(words)


def _loss(plan: TrainPlan) -> str:
    words = ["noise" if plan.prediction_type == "epsilon" else "velocity"]
    words += ["variance"] if plan.learn_sigma else []
    words += [f"min-SNR {plan.config.min_snr:g}"] if plan.config.min_snr else []
    return f"{', '.join(words)}; {plan.config.caption_dropout:.0%} of captions dropped"


def _plan_dict(plan: TrainPlan) -> dict[str, Any]:
    return {
        "config": plan.config.to_dict(),
        "parameters": plan.parameters,
        "trained": plan.trained,
        "pictures": len(plan.lessons),
        "shapes": plan.shapes(),
        "skipped": [{"name": each.name, "why": each.why} for each in plan.skipped],
        "batch": plan.team.whole,
        "epochs": plan.epochs,
        "device": plan.memory.device,
        "precision": plan.precision,
        "memory_bytes": plan.estimate_bytes,
        "free_bytes": plan.free_bytes,
        "seconds": plan.seconds_estimate,
        "result": str(_result(plan)),
    }


def _finish(printer: Printer, plan: TrainPlan, done: Trained) -> None:
    for text in done.warnings:
        printer.warn(text)
    new = [each for each in done.skipped if each not in plan.skipped]
    if new:
        first = f"{new[0].name}: {new[0].why}"
        printer.warn(f"{len(new)} of {len(plan.lessons)} pictures could not be read; {first}")
    if done.resumed == done.steps:
        printer.say(f"all {done.steps} steps were made before; the result was written again")
    elif done.resumed:
        printer.say(f"went on from step {done.resumed}; {done.steps} steps are made")
    option = "--lora" if plan.config.method == "lora" else "--model"
    printer.hint(f'pixart gen "…" {option} {done.path}')
    printer.path(as_typed(done.path.absolute(), plan.config.out))
    printer.document(
        SCHEMA, dry_run=False, path=str(done.path), steps=done.steps, resumed=done.resumed, loss=done.loss,
        pictures=done.pictures, plots=[str(path) for path in done.plots],
        skipped=[{"name": each.name, "why": each.why} for each in done.skipped],
    )  # fmt: skip
