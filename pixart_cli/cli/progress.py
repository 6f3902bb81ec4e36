"""What a person sees while waiting: a bar a stage on a terminal, a line a picture elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pixart_cli.cli.output import Printer, is_terminal, size_words, time_words
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent
from pixart_cli.core.terminal import plain

if TYPE_CHECKING:
    from pixart_cli.features.batch.run import Tally
    from pixart_cli.features.finetune.prepare import TrainEvent
    from pixart_cli.features.models import PullEvent

_WORDS = {
    "load": "loading the model",
    "encode": "reading the prompt",
    "denoise": "drawing",
    "refine": "refining",
    "decode": "developing",
    "resize": "enlarging",
    "write": "writing",
}
_TRAIN_WORDS = {
    "pictures": "reading pictures",
    "captions": "reading captions",
    "train": "training",
    "draw": "drawing samples",
    "saved": "saved at step",
}
_LINE_SECONDS = 10.0


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
        done = f"{event.step}/{event.total}"
        self._rich.update(self._task[2], completed=event.step, total=event.total, done=done)


class BatchBar:
    """Follows a batch: on a terminal one bar over all pictures, elsewhere a line a picture."""

    def __init__(self, printer: Printer, mode: str) -> None:
        self._printer = printer
        self._lines = mode != "none"
        self._bars = mode in ("auto", "bar") and can_animate() and not printer.quiet
        self._rich: Any = None
        self._task: Any = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Within, it is drawn. On leaving, however that happens, the terminal is as it was."""
        if not self._bars:
            yield
            return
        self._rich = _rich_bars()
        self._task = self._rich.add_task("", total=None, done="")
        with self._rich:
            yield

    def step(self, event: ProgressEvent) -> None:
        """What happens to the picture of the moment."""
        if self._rich is not None:
            steps = f" {event.step}/{event.total}" if event.total > 1 else ""
            self._rich.update(self._task, description=_WORDS.get(event.stage, event.stage) + steps)

    def show(self, tally: Tally, words: str) -> None:
        """How far the batch is, and `words` of its pace."""
        if self._rich is None:
            return
        failed = f", {tally.failed} failed" if tally.failed else ""
        done = f"{tally.done}/{'?' if tally.total is None else tally.total}{failed}"
        self._rich.update(self._task, completed=tally.done, total=tally.total, done=f"{done} {words}".strip())

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Within, the bar is out of the way of other lines: both streams may be one terminal."""
        if self._rich is None:
            yield
            return
        self._rich.stop()
        yield
        self._rich.start()

    def line(self, text: str) -> None:
        """One finished picture; nothing where there is a bar."""
        if self._lines and self._rich is None:
            self._printer.say(text)


class PullProgress:
    """Follows a download: on a terminal a bar for the file and one for all, elsewhere a line a file."""

    def __init__(self, printer: Printer, mode: str) -> None:
        self._printer = printer
        self._lines = mode != "none"
        self._bars = mode in ("auto", "bar") and can_animate() and not printer.quiet
        self._rich: Any = None
        self._tasks: dict[str, Any] = {}
        self._last = 0

    @contextlib.contextmanager
    def shown(self) -> Iterator[tuple[Callable[[PullEvent], None], Callable[[str], None]]]:
        """Within, the first callback shows events, the second prints a sentence beside the bars."""
        if not self._bars:
            yield self._line, self._printer.say
            return
        self._rich = _rich_bars()
        with self._rich:
            yield self._advance, self._beside

    def _line(self, event: PullEvent) -> None:
        if self._lines and event.done == event.size and self._last != event.index:
            self._last = event.index
            word = "downloaded" if event.stage == "fetch" else "checked"
            self._printer.say(f"{event.index}/{event.count} {word} {event.name} ({size_words(event.size)})")

    def _beside(self, text: str) -> None:
        self._rich.stop()
        self._printer.say(text)
        self._rich.start()

    def _advance(self, event: PullEvent) -> None:
        words = "downloading" if event.stage == "fetch" else "checking"
        self._show("file", f"{event.index}/{event.count} {event.name[-48:]}", event.done, event.size)
        self._show("all", words, event.total_done, event.total)

    def _show(self, key: str, words: str, done: int, total: int) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._rich.add_task("", total=total, done="")
        shown = f"{size_words(done)}/{size_words(total)}"
        self._rich.update(self._tasks[key], description=plain(words), completed=done, total=total, done=shown)


class TrainProgress:
    """Follows a training run: on a terminal a bar a stage, elsewhere a line now and then."""

    def __init__(self, printer: Printer, mode: str) -> None:
        self._printer = printer
        self._lines = mode != "none"
        self._bars = mode in ("auto", "bar") and can_animate() and not printer.quiet
        self._rich: Any = None
        self._task: tuple[str, Any] | None = None
        self._last: tuple[str, float] = ("", 0.0)

    @contextlib.contextmanager
    def shown(self) -> Iterator[Callable[[TrainEvent], None]]:
        """Within, the callback shows events."""
        if not self._bars:
            yield self._line
            return
        self._rich = _rich_bars()
        with self._rich:
            yield self._advance

    def _line(self, event: TrainEvent) -> None:
        """At the end of a stage, and otherwise at most every ten seconds."""
        now = time.monotonic()
        stage, told = self._last
        due = stage != event.stage or now - told >= _LINE_SECONDS or event.done == event.total
        if self._lines and due:
            self._last = (event.stage, now)
            self._printer.say(f"{_words_of(event)} {event.done}/{event.total}  {_told(event)}".rstrip())

    def _advance(self, event: TrainEvent) -> None:
        if event.stage == "saved":  # the bar will not stay, and this should
            self._rich.stop()
            self._line(event)
            self._rich.start()
            return
        if self._task is None or self._task[0] != event.stage:
            if self._task is not None:
                self._rich.remove_task(self._task[1])
            self._task = (event.stage, self._rich.add_task("", total=event.total, done=""))
        self._rich.update(
            self._task[1], description=_words_of(event), completed=event.done, total=event.total,
            done=f"{event.done}/{event.total}  {_told(event)[:80]}",
        )  # fmt: skip


def _told(event: TrainEvent) -> str:
    """What an event says beside its numbers."""
    left = f"  about {time_words(event.seconds_left)} left" if event.seconds_left else ""
    return plain(event.text) + left


def _words_of(event: TrainEvent) -> str:
    return _TRAIN_WORDS.get(event.stage, event.stage)


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
