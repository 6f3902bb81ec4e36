"""`pixart batch LIST --check`: the pictures that a list asks for, and their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixart_cli.cli.batch_report import pictures, tell_failure
from pixart_cli.cli.output import EVENTS, RESULT, Printer
from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.features.batch.engine import Task
    from pixart_cli.features.batch.run import Refused

Named = Callable[["Task", Path], Path | str]


def show(printer: Printer, planned: Iterable[Task | Refused], named: Named) -> None:
    """Print `planned`, and how many they are. `named` says what a path is called.

    Raises:
        PixartError: "batch-partial" when some prompts can be no picture; a wrong line.
    """
    from pixart_cli.features.batch.run import Refused

    number = 0
    shown: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for each in planned:
        if isinstance(each, Refused):
            refused.append(tell_failure(printer, each))
            continue
        number += 1
        line = _planned(each, named)
        if printer.as_json:
            shown.append(line)
        elif printer.as_events:
            printer.event("picture", **line)
        else:
            printer.data(_line(line))
    printer.data(pictures(number))
    found = {"check": True, "count": number}
    if refused:
        printer.attach(EVENTS if printer.as_events else RESULT, **found, **_lists(printer, shown, refused))
        what = f"{pictures(len(refused))} of {number + len(refused)} cannot be drawn"
        raise PixartError("batch-partial", what, "The others can: correct the lines that are named.")
    printer.document(RESULT, **found, images=shown)
    printer.event("done", schema=EVENTS, ok=True, **found)


def _lists(printer: Printer, shown: list[Any], refused: list[Any]) -> dict[str, Any]:
    return {} if printer.as_events else {"images": shown, "failed": refused}


def _planned(task: Task, named: Named) -> dict[str, Any]:
    request = task.request
    return {
        "path": str(named(task, task.paths[0])),
        "width": request.width,
        "height": request.height,
        "seed": request.seed,
        "model": request.model,
        "request": request.to_dict(),
        "source": task.entry.source,
        "line": task.entry.line,
    }


def _line(line: Mapping[str, Any]) -> str:
    size = f"{line['width']}x{line['height']}"
    words = (f"{line['source']}:{line['line']}", line["path"], size, f"seed {line['seed']}", line["model"])
    return "  ".join((*words, line["request"]["prompt"]))
