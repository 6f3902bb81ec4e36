"""How long pictures of a size take, and so whether a worker that is still at some is late."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from statistics import median
from typing import Final

from pixart_cli.features.batch.engine import Task

TIMES: Final = 5.0  # the usual time
LEAST: Final = 5  # pictures of a size, before anything is usual
_RECENT: Final = 101

_Size = tuple[str, int, int, int, str]


class Paces:
    """The seconds of the last pictures, by what their time depends on.

    Args:
        floor: nobody is late before so many seconds: a model may have to be loaded first.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._seconds: dict[_Size, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    def add(self, task: Task, seconds: float) -> None:
        """One more picture was drawn."""
        self._seconds[_size(task)].append(seconds)

    def limit(self, tasks: Iterable[Task]) -> float | None:
        """Seconds after which a worker is late with `tasks`; None where too few of their sizes were drawn."""
        usual = 0.0
        for task in tasks:
            seen = self._seconds.get(_size(task), ())
            if len(seen) < LEAST:
                return None
            usual += median(seen)
        return max(self._floor, TIMES * usual)


def _size(task: Task) -> _Size:
    request = task.request
    return request.model, request.width, request.height, request.num_inference_steps, request.refine
