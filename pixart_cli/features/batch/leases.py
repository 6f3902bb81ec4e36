"""Which pictures are lent to which worker: read as they are needed, given back when a worker dies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.attempts import MOST
from pixart_cli.features.batch.engine import Failed, Task

LARGEST: Final = 8  # pictures of a lease, whose prompts a worker embeds together
WINDOW: Final = 2  # leases of a worker: one that it draws, and one that waits there


class Lease:
    """Pictures that one worker has; `open` are those without an outcome, by their place in `tasks`."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.open = dict(enumerate(tasks))


class Leases:
    """Lends the pictures of `tasks`; never more of them are held than `workers` can have.

    Attributes:
        wrong: what is wrong with the line after the last picture, if it is; raised by who has drawn the rest.
    """

    def __init__(self, tasks: Iterator[Task], *, workers: int) -> None:
        self._tasks = tasks
        self._ahead: deque[Task] = deque()
        self._again: deque[Task] = deque()
        self._deaths = Counter[str]()
        self._twice: dict[int, tuple[Lease, Lease]] = {}
        self._ended = False
        self.wrong: PixartError | None = None
        self.serve(workers)

    def serve(self, workers: int) -> None:
        """There are so many workers from now on."""
        self._share = WINDOW * workers

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to lend."""
        self._read()
        return not self._ahead and not self._again

    def take(self) -> Lease | None:
        """The next lease; None when nothing is left to lend.

        Towards the end of a list leases become smaller, so that all workers end at about the same time. What
        was lent to a worker that died is lent alone, after everything else: then it is known which it is.
        """
        self._read()
        if self._ahead:
            size = max(1, min(LARGEST, len(self._ahead) // self._share))
            return Lease([self._ahead.popleft() for _ in range(size)])
        return Lease([self._again.popleft()]) if self._again else None

    def _read(self) -> None:
        while not self._ended and len(self._ahead) < self._share * LARGEST:
            try:
                task = next(self._tasks, None)
            except PixartError as error:
                self.wrong, task = error, None
            if task is None:
                self._ended = True
            else:
                self._ahead.append(task)

    def second(self, lease: Lease) -> Lease | None:
        """One picture of `lease`, for another worker too; None if all of it is. The first outcome counts."""
        for task in lease.open.values():
            if id(task) not in self._twice:
                copy = Lease([task])
                self._twice[id(task)] = lease, copy
                return copy
        return None

    def is_doubtful(self, task: Task) -> bool:
        """Whether the picture may be there although nobody said so: more than one worker had it."""
        return task.fingerprint in self._deaths or id(task) in self._twice

    def settle(self, lease: Lease, place: int) -> Task | None:
        """The picture at `place` of the lease has an outcome; None if it had one, from another worker."""
        task = lease.open.pop(place, None)
        if task is None:
            return None
        self._deaths.pop(task.fingerprint, None)
        for other in self._twice.pop(id(task), ()):
            other.open = {there: each for there, each in other.open.items() if each is not task}
        return task

    def give_back(self, lease: Lease) -> None:
        """Nobody began to draw it."""
        self._again.extend(task for task in lease.open.values() if not self._is_elsewhere(task))
        lease.open.clear()

    def _is_elsewhere(self, task: Task) -> bool:
        """Whether another worker has it too; of the two that is the only one from now on."""
        return self._twice.pop(id(task), None) is not None

    def died(self, lease: Lease) -> Iterator[Failed]:
        """The worker died that was drawing it; gives those at which that happened for the third time."""
        for place, task in list(lease.open.items()):
            deaths = self._deaths[task.fingerprint] + 1
            if deaths < MOST:
                self._deaths[task.fingerprint] = deaths
                continue
            self.settle(lease, place)
            what = f"{MOST} workers died while they drew this picture, and it is not tried again"
            hint = "See what killed them, memory most often; draw it smaller."
            yield Failed(task=task, error=PixartError("process-killed", what, hint))
        self.give_back(lease)
