"""`pixart info`: what a picture says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import Printer, table
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_NAME

if TYPE_CHECKING:
    from pixart_cli.features.info import Description

SCHEMA: Final = "pixart.info/1"
_WAYS: Final = ("text", "batch")
_SIDES: Final = ("width", "height")  # the file's own are shown


def info(
    context: typer.Context,
    images: options.Images,
    as_: Annotated[
        str, typer.Option("--as", help="How: for a person, or as a prompt list.", metavar="text|batch")
    ] = "text",
    lora: options.ReplayLora = None,
    init_image: Annotated[
        list[Path] | None,
        typer.Option(
            "--init-image", metavar="IMAGE", help="A picture they started from.", show_default=False
        ),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Show what each picture says of itself: prompt, seed and all else that made it.

    \b
    Examples:
      pixart info poster.png
      pixart info --json *.png
      pixart info --as batch *.png > again.txt
    """
    printer = door_of(context, as_json=json).printer
    _check(as_, json=json, supplied=bool(lora or init_image))
    listed = as_ == "batch"
    way = _as_list(printer, lora or (), init_image or ()) if listed else _for_people(printer, images)
    found = [_describe(printer, image, way, alone=len(images) == 1) for image in images]
    failures = [error for _, error in found if error is not None]
    values = [value for value, _ in found]
    if failures:
        printer.attach(SCHEMA, images=values)
        raise failures[0] if len(images) == 1 else _summary(failures, len(images))
    printer.document(SCHEMA, images=values)


def _check(as_: str, *, json: bool, supplied: bool) -> None:
    if as_ not in _WAYS:
        raise PixartError("usage", f"--as cannot be {as_!r}", "Expected one of " + ", ".join(_WAYS) + ".")
    if as_ == "batch" and json:
        raise PixartError("usage", "a prompt list is no JSON document", "Leave --json or --as batch out.")
    if as_ != "batch" and supplied:
        what = "--lora and --init-image name files for the lines of a prompt list"
        raise PixartError("usage", what, "Say --as batch too, or leave them out.")


@dataclass(frozen=True)
class _Way:
    """How one picture's description is spelled, and where the text goes."""

    spell: Callable[[Description], str]
    put: Callable[[str], None]


def _for_people(printer: Printer, images: Sequence[Path]) -> _Way:
    return _Way(lambda found: _text(found) + ("" if len(images) == 1 else "\n"), printer.data)


def _as_list(printer: Printer, loras: Sequence[str], init_images: Sequence[Path]) -> _Way:
    from pixart_cli.features.info import job_of, places_of

    places = places_of(loras, init_images)
    return _Way(lambda found: job_of(found, places), lambda text: printer.raw(text.encode("utf-8")))


def _describe(
    printer: Printer, image: Path, way: _Way, *, alone: bool
) -> tuple[dict[str, Any], PixartError | None]:
    """Show one picture's description and give it as data. A failure among several is told at once."""
    from pixart_cli.features.info import describe

    try:
        description = describe(image)
        text = way.spell(description)
    except PixartError as error:
        if not alone:
            printer.trouble(error)
        return {"path": str(image), "error": {"code": error.code, "message": error.message}}, error
    way.put(text)
    return _dict(description), None


def _summary(failures: list[PixartError], total: int) -> PixartError:
    first = failures[0]
    return PixartError(first.code, f"{len(failures)} of {total} pictures could not be described", first.hint)


def _text(description: Description) -> str:
    size = f"{description.width}x{description.height}"
    dpi = f", {description.dpi:.0f} dpi" if description.dpi else ""
    rows = [("file", str(description.path)), ("size", size + dpi)]
    if description.record is not None:
        asked = description.record.request.to_dict().items()
        rows += [
            (BY_NAME[name].key, str(value)) for name, value in asked if name not in _SIDES and value != ""
        ]
        rows += [(name, str(value)) for name, value in description.record.output.items() if value is not None]
        if description.record.parent is not None:
            rows.append(("parent", description.record.parent.fingerprint or "a picture of another program"))
        rows += [
            ("drawn by", _facts(description.record.provenance)),
            ("fingerprint", description.record.fingerprint),
        ]
        return _rows(rows)
    text = _rows(rows)
    return f"{text}\nparameters (of another program)\n{description.parameters}"


def _facts(provenance: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in provenance.items() if isinstance(value, (str, int)))


def _rows(rows: list[tuple[str, str]]) -> str:
    """Aligned, with a value's own lines under each other."""
    first = max(len(name) for name, _ in rows) + 2
    return table([(name, value.replace("\n", "\n" + " " * first)) for name, value in rows])


def _dict(description: Description) -> dict[str, Any]:
    record = description.record
    return {
        "path": str(description.path),
        "width": description.width,
        "height": description.height,
        "dpi": description.dpi,
        "request": record.request.to_dict() if record else None,
        "provenance": record.provenance if record else None,
        "output": record.output if record else None,
        "fingerprint": record.fingerprint if record else None,
        "parent": record.parent.to_dict() if record and record.parent else None,
        "parameters": description.parameters,
        "settings": description.settings,
    }
