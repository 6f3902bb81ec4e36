"""What a person sees while waiting: a bar a stage on a terminal, a line a picture elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from pixart_cli.cli.output import Printer, is_terminal, size_words
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent

_WORDS = {
    "fetch": "downloading",
    "load": "loading the model",
    "encode": "reading the prompt",
    "denoise": "drawing",
    "refine": "refining",
    "decode": "developing",
    "resize": "enlarging",
    "write": "writing",
}


class Progress:
    """Follows the events of one call. `lines` says whether each finished picture gets a line."""

    def __init__(self, printer: Printer, mode: str, total: int) -> None:
        self.lines = mode != "none"
        self._printer = printer
        self._bars = mode in ("auto", "bar") and can_animate() and not printer.quiet
        self._total = total
        self._rich: Any = None
        self._task: tuple[str, int, Any] | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[ProgressCallback]:
        """Within, the callback draws. On leaving, however that happens, the terminal is as it was."""
        if not self._bars:
            yield _ignore
            return
        self._rich = _rich_bars()
        with self._rich:
            yield self._advance

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Within, the bar is out of the way of other lines: both streams may be one terminal."""
        if self._rich is None:
            yield
            return
        if self._task is not None:
            self._rich.remove_task(self._task[2])
            self._task = None
        self._rich.stop()
        yield
        self._rich.start()

    def line(self, text: str) -> None:
        """One finished picture."""
        if self.lines:
            self._printer.say(text)

    def _advance(self, event: ProgressEvent) -> None:
        words = _WORDS.get(event.stage, event.stage)
        if self._total > 1 and event.stage not in ("load", "encode"):
            words = f"{event.index + 1}/{self._total} {words}"
        if self._task is None or self._task[:2] != (event.stage, event.index):
            if self._task is not None:
                self._rich.remove_task(self._task[2])
            self._task = (event.stage, event.index, self._rich.add_task(words, total=event.total, done=""))
        counted = size_words if event.stage == "fetch" else str
        done = f"{counted(event.step)}/{counted(event.total)}"
        self._rich.update(self._task[2], completed=event.step, total=event.total, done=done)


def can_animate() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def _ignore(_event: ProgressEvent) -> None:
    """No bar to move."""


def _rich_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)  # it reads NO_COLOR, and the encoding, itself
    words, done = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[done]}", markup=False),
    )
    return Bars(words, BarColumn(), done, TimeElapsedColumn(), console=console, transient=True)
