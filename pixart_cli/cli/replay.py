"""`pixart replay`: the picture drawn again from its own metadata, with a verdict."""

# ruff: noqa: ARG001 -- a command's options are read from its context, by the names of the table of settings

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.consent import obtain_loras, renderer_of
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import Printer, as_typed
from pixart_cli.cli.progress import Progress
from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import BY_SETTING
from pixart_cli.core.paths import here
from pixart_cli.core.settings import Job, lay_over
from pixart_cli.core.template import STDOUT, output_paths

if TYPE_CHECKING:
    from pixart_cli.features.replay import Replay

SCHEMA: Final = "pixart.replay/1"
# Options that say something else than those of `gen`, or that no file or variable may answer here.
_OWN: Final = ("image", "output", "model", "lora", "init_image")


def replay(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A PNG drawn by pixart.")],
    model: options.Model = None,
    lora: options.ReplayLora = None,
    init_image: options.ReplayInitImage = None,
    output: options.ReplayOutput = None,
    force: options.Force = None,
    device: options.Device = None,
    memory: options.Memory = None,
    prompt_cache: options.PromptCache = None,
    offline: options.Offline = None,
    yes: options.Yes = None,
    json: options.Json = None,
    quiet: options.Quiet = None,
    progress: options.Progress = None,
) -> None:
    """Draw IMAGE again from what it says of itself, and compare.

    \b
    The verdict, on standard output:
      exact      every pixel is the same
      close      40 dB or better: the machine or a version differs
      different  exit code 8

    \b
    Examples:
      pixart replay poster.png
      pixart replay poster.png -o again.png
    """
    typed = {key: value for key, value in context.params.items() if key not in _OWN}
    settings = lay_over(typed)
    if model is not None:  # typed; what a file or variable says is for new pictures
        model = BY_SETTING["model"].check(model, source="command line")
    values = settings.values
    door = door_of(context, as_json=values["json"])
    door.printer.quiet = values["quiet"]
    for warning in settings.warnings:
        door.printer.warn(warning)
    from pixart_cli.features import generate, replay

    obtain_loras(door.printer, lora or (), values)
    supplies = replay.Supplies(loras=tuple(lora or ()), init_image=init_image)
    order, record = replay.order_of(
        image, model=model, device=values["device"], memory=values["memory"], supplies=supplies
    )
    paths = _paths(output, order.jobs)
    generate.refuse_existing(paths, force=values["force"])
    generate.try_folders(paths)
    renderer = renderer_of(door, order, values)
    with Progress(door.printer, values["progress"], 1).shown() as on_progress:
        result = replay.replay(image, order, record, renderer=renderer, on_progress=on_progress)
    for path in paths:
        replay.keep(result, path, force=values["force"])
    _tell(door.printer, image, as_typed(paths[0], output) if paths else None, result)


def _paths(output: str | None, jobs: Sequence[Job]) -> list[Path]:
    """Where the picture drawn again is to be kept: one place, by the rules of `gen`, or none."""
    if output == STDOUT:
        what = "the verdict and a picture cannot share standard output"
        raise PixartError("output-invalid", what, "Name a file with --output.")
    if output is None:
        return []
    return output_paths(BY_SETTING["output"].check(output, source="command line"), jobs, cwd=here())


def _tell(printer: Printer, image: Path, output: Path | None, result: Replay) -> None:
    for warning in result.rendering.warnings:
        printer.warn(warning)
    for name, (recorded, today) in result.changed.items():
        printer.say(f"{name}: was {_shown(recorded)}, is {_shown(today)}")
    printer.data(result.verdict + _decibels(result.psnr))
    values = _dict(image, output, result)
    if result.verdict == "different":
        printer.attach(SCHEMA, **values)
        hint = "The lines above name what has changed since." if result.changed else "Was the file edited?"
        raise PixartError("replay-differs", f"{image}: the picture drawn again is another", hint)
    printer.document(SCHEMA, **values)


def _decibels(psnr: float | None) -> str:
    return "" if psnr is None or math.isinf(psnr) else f" ({psnr:.1f} dB)"


def _shown(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _dict(image: Path, output: Path | None, result: Replay) -> dict[str, Any]:
    psnr = result.psnr
    return {
        "path": str(image),
        "verdict": result.verdict,
        "psnr": None if psnr is None or math.isinf(psnr) else round(psnr, 2),
        "changed": {name: {"recorded": old, "today": new} for name, (old, new) in result.changed.items()},
        "output": None if output is None else str(output),
        "request": result.rendering.request.to_dict(),
        "provenance": result.rendering.provenance,
        "seconds": round(result.rendering.seconds, 3),
    }
