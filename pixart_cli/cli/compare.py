"""`pixart compare`: one prompt drawn by several models, and a sheet of all."""

# ruff: noqa: ARG001 -- a command's options are read from its context, by the names of the table of settings

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.consent import renderer_of
from pixart_cli.cli.options import Door, door_of
from pixart_cli.cli.output import Printer, as_typed, size_words, time_words
from pixart_cli.cli.progress import Progress
from pixart_cli.cli.prompts import read_prompts
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import here
from pixart_cli.core.settings import Settings, lay_over

if TYPE_CHECKING:
    from pixart_cli.features.compare import Comparison, Drawn, Failed, Outcome

SCHEMA: Final = "pixart.compare/1"
_WHERE: Final = {"device": "GPU memory", "process": "memory"}

Models = Annotated[
    str,
    typer.Option(
        "--models", metavar="A,B,C", show_default=False,
        help="The models to draw with: names of the catalogue, or folders, separated by commas.",
    ),
]  # fmt: skip


def compare(
    context: typer.Context,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to draw, in quotes; - reads standard input.")
    ],
    models: Models,
    preset: options.Preset = None,
    res: options.Res = None,
    seed: options.Seed = None,
    negative: options.Negative = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    guidance_until: options.GuidanceUntil = None,
    refine: options.Refine = None,
    encoder_bits: options.EncoderBits = None,
    output: options.Output = None,
    force: options.Force = None,
    metadata: options.Metadata = None,
    device: options.Device = None,
    memory: options.Memory = None,
    prompt_cache: options.PromptCache = None,
    offline: options.Offline = None,
    yes: options.Yes = None,
    json: options.Json = None,
    print0: options.Print0 = None,
    quiet: options.Quiet = None,
    progress: options.Progress = None,
) -> None:
    """Draw PROMPT with several models: a picture each, and a sheet with what each one took.

    Same prompt, seed and size for all; steps and guidance are each model's own unless given. A model that is
    missing or fails is named, and the others go on: then the exit code is 7.

    \b
    Examples:
      pixart compare "a red sun over blue mountains" --models sigma-1024,sdxl,cascade
      pixart compare "a lighthouse" --models mini,sigma-256 -r 512x512 -s 7 -o lighthouse.png
    """
    typed = {key: value for key, value in context.params.items() if key not in ("prompt", "models")}
    settings = lay_over(typed, environ=os.environ, cwd=here())
    door = door_of(context, as_json=settings.values["json"])
    door.printer.quiet, door.printer.print0 = settings.values["quiet"], settings.values["print0"]
    for warning in settings.warnings:
        door.printer.warn(warning)
    from pixart_cli.features import compare as feature
    from pixart_cli.features.generate import try_folders

    prompts = read_prompts(door.printer, [prompt])
    names = [name.strip() for name in models.split(",") if name.strip()]
    comparison = feature.plan_comparison(settings, prompts[0], names, cwd=here())
    try_folders([comparison.sheet])
    _draw(door, comparison, settings)


def _draw(door: Door, comparison: Comparison, settings: Settings) -> None:
    from pixart_cli.features.compare import Drawn, draw, write_sheet

    printer, values = door.printer, settings.values
    outcomes: list[Outcome] = []
    images: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    document: dict[str, Any] = {"sheet": None, "images": images, "failures": failures}
    printer.attach(SCHEMA, **document)
    progress = Progress(printer, values["progress"], len(comparison.models))
    with progress.shown() as on_progress:
        results = draw(
            comparison, lambda order: renderer_of(door, order, values),
            force=values["force"], metadata=values["metadata"], on_progress=on_progress,
        )  # fmt: skip
        for outcome in results:
            outcomes.append(outcome)
            with progress.aside():
                if isinstance(outcome, Drawn):
                    images.append(_hand_over(printer, outcome, values["output"]))
                else:
                    failures.append(_tell_failure(printer, outcome))
    if images:
        write_sheet(comparison, outcomes, _words, force=values["force"], metadata=values["metadata"])
        document["sheet"] = str(as_typed(comparison.sheet, values["output"]))
        printer.path(as_typed(comparison.sheet, values["output"]))
    _finish(printer, outcomes, document)


def _hand_over(printer: Printer, drawn: Drawn, output: str | None) -> dict[str, Any]:
    """Tell of one picture and give it as data."""
    path, rendering = as_typed(drawn.result.path, output), drawn.result.rendering
    printer.say(f"{drawn.model}: {', '.join(_words(drawn))}")
    for warning in rendering.warnings:
        printer.warn(f"{drawn.model}: {warning}")
    printer.path(path)
    request = rendering.request
    return {
        "path": str(path),
        "width": request.width,
        "height": request.height,
        "seed": request.seed,
        "model": request.model,
        "request": request.to_dict(),
        "provenance": rendering.provenance,
        "seconds": round(rendering.seconds, 3),
        "peak_memory_bytes": drawn.peak.bytes,
        "peak_memory_of": drawn.peak.where,
        "parameters": sum(drawn.parameters.values()),
        "parameters_by_network": drawn.parameters,
    }


def _tell_failure(printer: Printer, failed: Failed) -> dict[str, Any]:
    error = failed.error
    printer.trouble(PixartError(error.code, f"{failed.model}: {error.message}"))
    shown = {"code": error.code, "message": error.message, "hint": error.hint, "exit": error.exit_code}
    return {"model": failed.model, "error": shown}


def _words(outcome: Outcome) -> tuple[str, ...]:
    """What is under a picture on the sheet: seconds, memory and parameters; or why there is none."""
    from pixart_cli.features.compare import Failed

    if isinstance(outcome, Failed):
        return "not drawn:", outcome.error.message
    seconds = time_words(outcome.result.rendering.seconds)
    peak = f"{size_words(outcome.peak.bytes)} of {_WHERE[outcome.peak.where]} at most"
    return f"{seconds}, loading included", peak, f"{count_words(sum(outcome.parameters.values()))} parameters"


def count_words(count: float) -> str:
    """`count` parameters for a person: "6.95 million"."""
    for unit in ("", " thousand", " million"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} billion"


def _finish(printer: Printer, outcomes: list[Outcome], document: dict[str, Any]) -> None:
    """The document of a success, or the error: of one model's if none drew, else "batch-partial"."""
    from pixart_cli.features.compare import Failed

    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if not failed:
        printer.document(SCHEMA, **document)
        return
    printer.attach(SCHEMA, **document)
    first = failed[0].error
    names = ", ".join(each.model for each in failed)
    if len(failed) == len(outcomes):
        raise PixartError(first.code, f"no model drew anything: {first.message}", first.hint)
    what = f"{len(failed)} of {len(outcomes)} models drew nothing: {names}"
    raise PixartError("batch-partial", what, first.hint)
