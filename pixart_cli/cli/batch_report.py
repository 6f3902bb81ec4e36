"""What a batch tells while it runs, to a person or a program: lines, a bar, one document, or events."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.cli.output import EVENTS, RESULT, Printer, time_words
from pixart_cli.cli.progress import BatchBar
from pixart_cli.core.errors import PixartError
from pixart_cli.core.rendering import ProgressEvent

if TYPE_CHECKING:
    from pixart_cli.features.batch.engine import Failed, Published, Task
    from pixart_cli.features.batch.run import Event, Refused, Tally

_RECENT: Final = 100
_EVERY_SECONDS: Final = 1.0


class Rate:
    """Pictures a second, of the last hundred. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times = deque[float](maxlen=_RECENT + 1)

    def tick(self, seconds: float) -> None:
        """One more picture is there. Of the first, which took `seconds`, loading is no part."""
        if not self._times:
            self._times.append(self._clock() - seconds)
        self._times.append(self._clock())

    @property
    def per_second(self) -> float | None:
        """None before the first picture."""
        if len(self._times) < 2:
            return None
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    def left(self, pictures: int | None) -> float | None:
        """Seconds that so many more will take; None if that cannot be said yet."""
        rate = self.per_second
        return None if rate is None or pictures is None else pictures / rate


class Report:
    """Tells of one batch. `values` are settings: progress counts here; `named` says what a path is called."""

    def __init__(
        self, printer: Printer, values: Mapping[str, Any], named: Callable[[Task, Path], Path | str]
    ) -> None:
        self._printer, self._named = printer, named
        self._bar = BatchBar(printer, values["progress"])
        self._rate = Rate()
        self._images: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []
        self._tally: Tally | None = None
        self._told = 0.0

    @contextlib.contextmanager
    def shown(self, tally: Tally, source: str) -> Iterator[None]:
        """Within, the batch runs."""
        self._tally = tally
        if self._printer.as_events:
            self._printer.attach(EVENTS)
        else:
            self._printer.attach(RESULT, images=self._images, failed=self._failed)
        self._printer.event("start", schema=EVENTS, source=source, total=tally.total)
        many = "read as it comes" if tally.total is None else pictures(tally.total)
        self._printer.say(f"{source}: {many}")
        with self._bar.shown():
            self.tallied(tally)
            yield

    def step(self, event: ProgressEvent) -> None:
        """One step of one picture."""
        self._bar.step(event)

    def tallied(self, tally: Tally) -> None:
        """The numbers changed."""
        self._bar.show(tally, self._words())
        if self._printer.as_events and time.monotonic() - self._told >= _EVERY_SECONDS:
            self._progress()

    def tell(self, event: Event) -> None:
        """One picture is there, or failed."""
        from pixart_cli.features.batch.engine import Published

        with self._bar.aside():
            if isinstance(event, Published):
                self._rate.tick(event.seconds)
                self._published(event)
            else:
                self._failure(event)
            self._progress()
        if self._tally is not None:
            self._bar.show(self._tally, self._words())

    def _published(self, event: Published) -> None:
        self._warn(event)
        path = self._named(event.task, event.path)
        self._printer.event("image", **self._image(event, str(path)))
        if self._printer.as_json:
            self._images.append(self._image(event, str(path)))
        request = event.task.request
        size, took = f"{request.width}x{request.height}", time_words(event.seconds)
        another = ", drawn by another meanwhile" if event.by_another else ""
        self._bar.line(f"{self._place()}{size}, seed {request.seed}, {took}{another}{self._words('; ')}")
        if not event.by_another:
            self._printer.path(path)

    def _image(self, event: Published, path: str) -> dict[str, Any]:
        request = event.task.request
        return {
            "path": path,
            "width": request.width,
            "height": request.height,
            "seed": request.seed,
            "model": request.model,
            "request": request.to_dict(),
            "provenance": dict(event.provenance),
            "seconds": round(event.seconds, 3),
            "fingerprint": event.task.fingerprint,
            "by_another": event.by_another,
            "warnings": list(event.warnings),
            **_origin(event.task.entry),
        }

    def _warn(self, event: Published) -> None:
        """A warning of one picture: told with its place, and kept only where a document will hold all."""
        entry = event.task.entry
        for warning in event.warnings:
            if self._printer.as_json:
                self._printer.warn(warning)
            else:
                self._printer.say(f"warning: {entry.source}:{entry.line}: {warning}")

    def _failure(self, event: Failed | Refused) -> None:
        values = tell_failure(self._printer, event)
        if self._printer.as_json:
            self._failed.append(values)

    def _place(self) -> str:
        tally = self._tally
        assert tally is not None  # noqa: S101 -- told of pictures within `shown` alone
        return f"{tally.done}: " if tally.total is None else f"{tally.done}/{tally.total}: "

    def _words(self, before: str = "") -> str:
        """Rate and time left, once there is something to go by."""
        rate = self._rate.per_second
        if rate is None or self._tally is None:
            return ""
        speed = f"{rate:.3g}/s" if rate >= 1 else f"{rate * 60:.3g}/min"
        left = self._rate.left(self._tally.left)
        return f"{before}{speed}" + ("" if left is None else f", {time_words(left)} left")

    def _progress(self) -> None:
        tally = self._tally
        if tally is None or not self._printer.as_events:
            return
        self._told = time.monotonic()
        rate, left = self._rate.per_second, self._rate.left(tally.left)
        self._printer.event(
            "progress", total=tally.total, done=tally.done, drawn=tally.drawn, existing=tally.existing,
            failed=tally.failed, per_second=None if rate is None else round(rate, 4),
            seconds_left=None if left is None else round(left, 1),
        )  # fmt: skip

    def finish(self, failures: str) -> None:
        """The batch went through its list.

        Raises:
            PixartError: "batch-partial" when pictures failed; `failures` is the list of these.
        """
        tally = self._tally
        assert tally is not None  # noqa: S101
        self._warn_of_outdated(tally)
        numbers = {"drawn": tally.drawn, "existing": tally.existing}
        lists = {"images": self._images, "failed": self._failed}
        if tally.failed:
            if self._printer.as_events:
                self._printer.attach(EVENTS, **numbers, failed=tally.failed)
            else:
                self._printer.attach(RESULT, **lists, **numbers)
            what = f"{pictures(tally.failed)} of {tally.done} failed"
            raise PixartError(
                "batch-partial", what, f"Their list is {failures}: try again with: pixart batch {failures}"
            )
        self._printer.say(f"{pictures(tally.drawn)} drawn, {tally.existing} there already")
        self._printer.document(RESULT, **lists, **numbers)
        self._printer.event("done", schema=EVENTS, ok=True, **numbers, failed=tally.failed)

    def _warn_of_outdated(self, tally: Tally) -> None:
        for model, number in sorted(tally.outdated.items()):
            was = "was" if number == 1 else "were"
            self._printer.warn(
                f"{pictures(number)} there already {was} drawn with other weights of {model}; "
                "--force draws them again"
            )


def tell_failure(printer: Printer, event: Failed | Refused) -> dict[str, Any]:
    """Tell of one failure; gives what a program is told of it."""
    from pixart_cli.features.batch.engine import Failed

    entry, error = event.task.entry if isinstance(event, Failed) else event.entry, event.error
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    values = {"prompt": entry.prompt, **_origin(entry), "error": told}
    printer.event("failed", **values)
    place = f"{entry.source}:{entry.line}"
    where = "" if error.message.startswith(place) else f"{place}: "
    printer.trouble(PixartError(error.code, f"{where}{error.message}", error.hint))
    return values


def pictures(number: int) -> str:
    """As a person says it."""
    return "1 picture" if number == 1 else f"{number} pictures"


def _origin(entry: Any) -> dict[str, Any]:
    return {"source": entry.source, "line": entry.line}
