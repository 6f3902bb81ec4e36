"""Pictures → PNG files that exist, on threads of their own, while the next pictures are drawn."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.rendering import Rendering
from pixart_cli.features.batch.engine import Failed, Outcome, Published, Task
from pixart_cli.features.generate import png_of

_WRITERS: Final = min(4, os.cpu_count() or 1)
_WAITING: Final = 2 * _WRITERS  # pictures that are drawn and not yet written


class Overwriting:
    """Which place a picture takes with `force`: its own, or the first that this run gave to no other."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def place(self, task: Task) -> Path:
        """The place of `task`, taken from now on."""
        path = task.existing
        if path is None or str(path) in self._taken:  # another picture of this run replaces it there
            path = next((path for path in task.paths if str(path) not in self._taken), task.paths[-1])
        self._taken.add(str(path))
        return path


class Writers:
    """Threads that make PNG files of pictures and publish them while the next are drawn."""

    def __init__(self, *, force: bool) -> None:
        self._overwriting = Overwriting() if force else None
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="pixart-writer")
        self._waiting: deque[tuple[Task, Future[Outcome]]] = deque()

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, task: Task, rendering: Rendering) -> Iterator[Outcome]:
        """Take one picture; gives the outcomes that are known by now, and waits when too many are not.

        Raises:
            PixartError: "disk", which is no single picture's fault.
        """
        over = self._overwriting.place(task) if self._overwriting else None
        self._waiting.append((task, self._pool.submit(_publish, task, rendering, over)))
        while self._waiting and (len(self._waiting) > _WAITING or self._waiting[0][1].done()):
            yield self._next()

    def rest(self, *, quietly: bool = False) -> Iterator[Outcome]:
        """The outcomes of all that was taken. `quietly` keeps a disk's error: another one is on its way."""
        while self._waiting:
            try:
                yield self._next()
            except PixartError:
                if not quietly:
                    raise

    def _next(self) -> Outcome:
        task, future = self._waiting.popleft()
        try:
            return future.result()
        except Exception as failure:
            error = as_error(failure)
            if error.code == "disk":
                raise error from failure
            return Failed(task=task, error=error)


def _publish(task: Task, rendering: Rendering, over: Path | None) -> Outcome:
    data = png_of(rendering, task.job, task.metadata)
    by_another = False
    if over is None:
        by_name = task.metadata == "none"
        path, by_another = task.store.publish(data, task.paths, task.fingerprint, by_name=by_name)
    else:
        path = over
        task.store.replace(data, path)
    return Published(
        task=task, path=path, provenance=rendering.provenance, seconds=rendering.seconds,
        warnings=rendering.warnings, by_another=by_another,
    )  # fmt: skip


def as_error(failure: Exception) -> PixartError:
    """`failure` as an error with a code, for a list of failures."""
    if isinstance(failure, PixartError):
        return failure
    if isinstance(failure, MemoryError):
        return PixartError(
            "out-of-memory", "memory ran out", "Close other programs, or choose a smaller size."
        )
    what = f"a bug in pixart: {type(failure).__name__}: {failure}"
    error = PixartError("bug", what, "Run it again with --debug and report what it shows.")
    error.__cause__ = failure
    return error
