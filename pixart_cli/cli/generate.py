"""`pixart gen`: one picture per prompt and seed."""

# ruff: noqa: ARG001 -- a command's options are read from its context, by the names of the table of settings

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pixart_cli.cli import options
from pixart_cli.cli.advice import (
    tell_of_better,
    tell_of_few_steps,
    tell_of_loss,
    tell_of_no_compiler,
    tell_of_no_guidance,
    tell_of_tiny_encoder,
)
from pixart_cli.cli.consent import obtain_loras, renderer_of
from pixart_cli.cli.options import Door, door_of
from pixart_cli.cli.output import RESULT, Printer, as_typed, is_terminal, size_words, table, time_words
from pixart_cli.cli.progress import Progress
from pixart_cli.cli.prompts import read_prompts
from pixart_cli.core.catalog import BUILT_IN
from pixart_cli.core.crew import place
from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import read_recorded
from pixart_cli.core.paths import here
from pixart_cli.core.refine import DIRECT
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.settings import Settings, lay_over

if TYPE_CHECKING:
    from pixart_cli.features.generate import Order, Result


def gen(
    context: typer.Context,
    prompts: options.Prompts,
    preset: options.Preset = None,
    res: options.Res = None,
    model: options.Model = None,
    seed: options.Seed = None,
    count: options.Count = None,
    negative: options.Negative = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    guidance_until: options.GuidanceUntil = None,
    scheduler: options.Scheduler = None,
    kv_compression: options.KvCompression = None,
    refine: options.Refine = None,
    draft: options.Draft = False,
    direct: options.Direct = False,
    lora: options.Lora = None,
    init_image: options.InitImage = None,
    strength: options.Strength = None,
    encoder_bits: options.EncoderBits = None,
    output: options.Output = None,
    force: options.Force = None,
    metadata: options.Metadata = None,
    device: options.Device = None,
    memory: options.Memory = None,
    torch_compile: options.TorchCompile = None,
    prompt_cache: options.PromptCache = None,
    offline: options.Offline = None,
    yes: options.Yes = None,
    json: options.Json = None,
    print0: options.Print0 = None,
    quiet: options.Quiet = None,
    progress: options.Progress = None,
    dry_run: options.DryRun = None,
) -> None:
    """Draw one picture per prompt and seed.

    \b
    Examples:
      pixart gen "a red sun over blue mountains" --res 4k -o poster.png
      pixart gen "a red sun" "a white moon" -n 4 -o out/
      pixart gen "a red sun" -o "{slug}-{width}x{height}-{seed}.png"
      echo "a red sun" | pixart gen - -o - > poster.png
    """
    typed = {key: value for key, value in context.params.items() if key != "prompts"}
    typed["lora"] = lora or None
    typed["refine"] = options.refine_of(refine, draft=typed.pop("draft"), direct=typed.pop("direct"))
    settings = lay_over(typed, environ=os.environ, cwd=here())
    draw(door_of(context), settings, prompts)


def draw(door: Door, settings: Settings, words: Sequence[str]) -> None:
    """Work out, check, then draw what `settings` ask for."""
    _set_up(door.printer, settings)
    from pixart_cli.features import generate

    _check_standard_output(settings)
    obtain_loras(door.printer, settings.values["lora"], settings.values)
    order = generate.plan_jobs(settings, read_prompts(door.printer, words), cwd=here())
    tell_of_loss(door.printer, order)
    tell_of_few_steps(door.printer, order)
    tell_of_no_guidance(door.printer, order, settings)
    tell_of_tiny_encoder(door.printer, order.model, settings)
    tell_of_no_compiler(door.printer, order, settings)
    if settings.values["dry_run"]:
        _show_plan(door.printer, order, settings.values["output"])
        return
    if settings.origins["model"] == "built-in" and order.model == BUILT_IN:
        tell_of_better(door.printer)
    generate.try_folders(order.paths)
    renderer = renderer_of(door, order, settings.values)
    _announce(door.printer, order)
    _draw_all(door.printer, order, renderer, settings)


def _set_up(printer: Printer, settings: Settings) -> None:
    printer.as_json |= settings.values["json"]
    printer.quiet = settings.values["quiet"]
    printer.print0 = settings.values["print0"]
    for warning in settings.warnings:
        printer.warn(warning)


def _check_standard_output(settings: Settings) -> None:
    """A picture goes there alone, and never onto a screen."""
    if settings.values["output"] != "-" or settings.values["dry_run"]:
        return
    if settings.values["json"]:
        what = "--json and a picture cannot share standard output"
        raise PixartError("output-invalid", what, "Name a file with --output.")
    if sys.stdout is None:
        what = "standard output is closed"
        raise PixartError("disk", what, "Leave it open, or name a file with --output.")
    if is_terminal(sys.stdout):
        hint = "Send the picture to a file or program: pixart gen ... -o - > picture.png"
        raise PixartError("output-invalid", "standard output is a terminal", hint)


def _announce(printer: Printer, order: Order) -> None:
    request = order.jobs[0].request
    many = f"{len(order.jobs)} pictures" if len(order.jobs) > 1 else "1 picture"
    here = place(os.environ)
    where = order.plan.device if here.alone else f"{order.plan.device} in {here.size} processes"
    printer.say(
        f"{request.model}: {many} of {request.width}x{request.height} on {where}, {_seeds_words(order)}"
    )


def _seeds_words(order: Order) -> str:
    """One, a row of them, or how many: prompts without a typed seed have each its own."""
    seeds = list(dict.fromkeys(job.request.seed for job in order.jobs))
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}" if len(seeds) < 4 else f"{len(seeds)} seeds"


def _draw_all(printer: Printer, order: Order, renderer: Any, settings: Settings) -> None:
    from pixart_cli.features.generate import generate

    values = settings.values
    images: list[dict[str, Any]] = []
    printer.attach(RESULT, images=images)
    progress = Progress(printer, values["progress"], len(order.jobs))
    with progress.shown() as on_progress:
        results = generate(
            order, renderer, force=values["force"], metadata=values["metadata"], on_progress=on_progress
        )
        for result in results:
            path = as_typed(result.path, values["output"])
            images.append(_image(result, path))
            with progress.aside():
                progress.line(_line(result, len(order.jobs)))
                _hand_over(printer, result, path)
    printer.document(RESULT, images=images)


def _hand_over(printer: Printer, result: Result, path: Path) -> None:
    for warning in result.rendering.warnings:
        printer.warn(warning)
    if result.data is None:
        printer.path(path)
    else:
        printer.raw(result.data)


def _line(result: Result, total: int) -> str:
    request = result.rendering.request
    count = f"{result.job.index + 1}/{total}: " if total > 1 else ""
    size = f"{request.width}x{request.height}"
    return f"{count}{size}, seed {request.seed}, {time_words(result.rendering.seconds)}"


def _image(result: Result, path: Path) -> dict[str, Any]:
    rendering = result.rendering
    made = {"provenance": rendering.provenance, "seconds": round(rendering.seconds, 3)}
    return _asked(rendering.request, path) | made


def _asked(request: GenerationRequest, path: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "width": request.width,
        "height": request.height,
        "seed": request.seed,
        "model": request.model,
        "request": request.to_dict(),
    }


def _show_plan(printer: Printer, order: Order, output: str | None) -> None:
    """What would be done: for a person on standard output, else as JSON of the usual shape."""
    pictures = [
        (as_typed(path, output), job.request) for path, job in zip(order.paths, order.jobs, strict=True)
    ]
    printer.data(table([*_plan_rows(order), *((f"seed {r.seed}", str(path)) for path, r in pictures)]))
    if not printer.as_json:
        return
    images = [_asked(request, path) for path, request in pictures]
    printer.document(RESULT, dry_run=True, images=images, plan=_plan_dict(order))


def _plan_rows(order: Order) -> list[tuple[str, str]]:
    plan, drawn, request = order.plan, order.bin, order.jobs[0].request
    seconds = plan.seconds_estimate
    cut = f"{drawn.width}x{drawn.height}, of which {drawn.crop:.1%} is cut away"
    return [
        ("model", f"{order.model}: {order.spec.title}"),
        ("weights", _weights(order)),
        ("size", f"{request.width}x{request.height} pixels"),
        *(() if request.refine == DIRECT else [("bin", cut)]),
        ("refine", _passes_words(order)),
        *_input_rows(order),
        ("device", f"{plan.device}, {plan.dtype}, {plan.offload}{', compiled' if plan.compiles else ''}"),
        ("memory", f"about {size_words(plan.estimate_bytes)}"),
        ("time", "unknown" if seconds is None else f"about {time_words(seconds)} a picture"),
        *(("because", reason) for reason in plan.reasons),
    ]


def _input_rows(order: Order) -> list[tuple[str, str]]:
    request = order.jobs[0].request
    loras = [(order.files[each.sha256].name, each.scale) for each in read_recorded(request.lora)]
    rows = [("lora", f"{name} at {scale:g}") for name, scale in loras]
    if request.init_image:
        rows.append(("start", f"{order.files[request.init_image].name}, strength {request.strength:g}"))
    return rows


def _passes_words(order: Order) -> str:
    request, passes = order.jobs[0].request, order.passes
    if request.refine == DIRECT:
        return "none: the full size is sampled at once"
    if passes:
        return "to " + ", ".join(f"{each.width}x{each.height} at {each.strength:g}" for each in passes)
    return "none"


def _weights(order: Order) -> str:
    if order.installed:
        return "on this machine"
    size = order.spec.approx_bytes
    return f"not on this machine{f', about {size_words(size)} to download' if size else ''}"


def _plan_dict(order: Order) -> dict[str, Any]:
    plan, drawn = order.plan, order.bin
    return {
        "installed": order.installed,
        "device": plan.device,
        "dtype": plan.dtype,
        "offload": plan.offload,
        "text_encoder": plan.encoder,
        "compiled": plan.compiles,
        "estimate_bytes": plan.estimate_bytes,
        "seconds_estimate": plan.seconds_estimate,
        "reasons": list(plan.reasons),
        "refine": [dataclasses.asdict(each) for each in order.passes],
        "bin": {
            "width": drawn.width,
            "height": drawn.height,
            "native": drawn.native,
            "crop": round(drawn.crop, 4),
        },
    }
