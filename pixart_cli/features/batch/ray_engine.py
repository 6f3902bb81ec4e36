"""The engine of many machines: workers of a Ray cluster draw and publish, this process lends and listens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.cluster import Machines, Wish, connected, size_of
from pixart_cli.features.batch.engine import Failed, Outcome, Published, Task
from pixart_cli.features.batch.fleet import Fleet, Patience, Worker
from pixart_cli.features.batch.leases import Lease, Leases
from pixart_cli.features.batch.paces import Paces
from pixart_cli.features.batch.painter import Orders, Painter, Reply
from pixart_cli.features.batch.writers import Overwriting

_TICK: Final = 0.5  # seconds between two looks at signals
_FAREWELL: Final = 30.0  # seconds that workers have to end their step
# What another machine may not meet: the worker goes, its pictures are drawn by the others.
_OF_ONE_MACHINE: Final = frozenset("model-missing weights-invalid install-broken device-unavailable".split())


class RayEngine:
    """Draws on a Ray cluster.

    Args:
        wish: which cluster, and how much of it.
        orders: how workers draw.
        pause: called where the batch may be left; raises to leave it.
        say: told what a person should know of the cluster.
        painter: what runs in every worker.
        patience: how long is waited for what.
    """

    def __init__(
        self,
        wish: Wish,
        orders: Orders,
        *,
        pause: Callable[[], None],
        say: Callable[[str], None],
        painter: type[Painter] = Painter,
        patience: Patience = Patience(),  # noqa: B008 -- it is frozen
    ) -> None:
        self._wish, self._orders, self._pause, self._say, self._painter = wish, orders, pause, say, painter
        self._patience = patience

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """As `Engine.run`.

        Raises:
            PixartError: "extra-missing", "cluster-unreachable", "cluster-too-small", and "fleet-mixed" or
                "process-lost" when no worker is left.
        """
        first = next(tasks, None)
        if first is None:  # Ray takes seconds to begin
            return
        tasks = chain([first], tasks)
        with connected(self._wish) as ray:
            nodes = ray.nodes()
            size = size_of(self._wish, nodes, on_cpu=self._orders.device == "cpu")
            fleet = Fleet(
                ray, size, self._orders, self._say, self._painter,
                patience=self._patience, allow_mixed=self._wish.allow_mixed,
            )  # fmt: skip
            run = _Run(
                ray, fleet, Leases(self._placed(tasks), workers=size.workers),
                Machines(self._wish, size, nodes), self._orders, self._say, self._patience,
            )  # fmt: skip
            try:
                yield from run.all(self._pause)
            except GeneratorExit:
                raise
            except BaseException:
                yield from run.farewell()
                raise
            finally:
                fleet.close()

    def _placed(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """`tasks`, each with its one place where it may overwrite: workers do not know of each other."""
        if not self._orders.force:
            yield from tasks
            return
        overwriting = Overwriting()
        for task in tasks:
            yield dataclasses.replace(task, paths=(overwriting.place(task),))


class _Run:
    """One list on one fleet."""

    def __init__(
        self,
        ray: Any,
        fleet: Fleet,
        leases: Leases,
        machines: Machines,
        orders: Orders,
        say: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._ray, self._fleet, self._leases, self._orders = ray, fleet, leases, orders
        self._machines, self._say, self._rescan = machines, say, patience.rescan
        self._paces = Paces(patience.late)
        self._told: set[Worker] = set()
        self._looks_at = time.monotonic() + patience.rescan

    def all(self, pause: Callable[[], None]) -> Iterator[Outcome]:
        """Lend until nothing is left, and give what comes of it."""
        while True:
            pause()
            self._look_around()
            yield from self._lend()
            yield from self._help()
            if self._is_over():
                break
            for worker in self._fleet.wait(_TICK):
                yield from self._heard(worker)
                pause()
            if not self._fleet.workers and self._fleet.lost is not None:
                raise self._fleet.lost
        if self._leases.wrong is not None:
            raise self._leases.wrong

    def _look_around(self) -> None:
        """Begin workers on machines that joined since the last look."""
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + self._rescan
        places = self._machines.joined(self._ray.nodes(), len(self._fleet.workers))
        if places:
            self._fleet.add(places)
            self._leases.serve(len(self._fleet.workers))
            many = "a worker is" if len(places) == 1 else f"{len(places)} workers are"
            self._say(f"the cluster has grown: {many} added, of {len(self._fleet.workers)}")

    def farewell(self) -> Iterator[Outcome]:
        """Have all workers leave after their step, and give what they had drawn by then."""
        until = time.monotonic() + _FAREWELL
        for worker in self._fleet.workers:
            worker.hello = None
            worker.stop()
        while self._fleet.draws and time.monotonic() < until:
            for worker in self._fleet.wait(_TICK):
                yield from self._heard(worker)

    def _lend(self) -> Iterator[Outcome]:
        """A first lease for every worker before any has a second: a short list is shared."""
        for free in range(2):
            for worker in self._fleet.workers:
                while worker.has_room and len(worker.leases) <= free:
                    lease = self._leases.take()
                    if lease is None:
                        return
                    yield from self._lend_to(worker, lease)

    def _lend_to(self, worker: Worker, lease: Lease) -> Iterator[Outcome]:
        if any(self._leases.is_doubtful(task) for task in lease.open.values()):
            yield from self._published_unheard(lease)
        if lease.open:
            worker.lend(lease)

    def _help(self) -> Iterator[Outcome]:
        """Lend what a late worker has to another as well, when that has nothing else to do."""
        for worker in [each for each in self._fleet.workers if each.is_idle]:
            found = self._second() if self._leases.is_empty else None
            if found is None:
                return
            late, lease = found
            if late not in self._told:
                self._told.add(late)
                self._say(f"{late.name} takes far longer than usual: what it has is drawn by others as well")
            yield from self._lend_to(worker, lease)

    def _second(self) -> tuple[Worker, Lease] | None:
        """A late worker, and a lease of one picture that it has and nobody else."""
        for worker in self._fleet.workers:
            if self._is_late(worker):
                copies = (self._leases.second(lease) for lease, _ in worker.leases)
                copy = next((each for each in copies if each is not None), None)
                if copy is not None:
                    return worker, copy
        return None

    def _is_late(self, worker: Worker) -> bool:
        drawing = next((lease for lease, _ in worker.leases if lease.open), None)
        limit = self._paces.limit(drawing.open.values()) if drawing is not None else None
        return limit is not None and time.monotonic() - worker.heard_at > limit

    def _published_unheard(self, lease: Lease) -> Iterator[Published]:
        """Those pictures of a lease that a worker published before it died, and could not tell of."""
        if self._orders.force:  # what is there may be what is to be replaced
            return
        for place, task in list(lease.open.items()):
            path = task.existing
            if path is not None:
                self._leases.settle(lease, place)
                yield Published(task=task, path=path, provenance={}, seconds=0.0)

    def _is_over(self) -> bool:
        return not self._fleet.draws and self._leases.is_empty

    def _heard(self, worker: Worker) -> Iterator[Outcome]:
        """All that `worker` says now; its death is the fault of what it was drawing, perhaps."""
        try:
            for lease, reply in self._fleet.replies(worker):
                if reply is not None and reply.place is None:
                    self._refuse(worker, PixartError(*reply.error))
                    return
                if reply is not None:
                    yield from self._settled(lease, reply)
                elif lease.open:
                    self._leases.give_back(lease)
                    self._meet_again(worker)
                    return
        except self._ray.exceptions.RayActorError as error:
            yield from self._mourn(worker)
            self._fleet.rest(worker, str(error))
        except self._ray.exceptions.RayError as error:
            what = f"a bug in pixart, in {worker.name}: {str(error).strip().splitlines()[-1][:300]}"
            self._refuse(worker, PixartError("bug", what, "Report it."))

    def _settled(self, lease: Lease, reply: Reply) -> Iterator[Outcome]:
        """The outcome that `reply` tells of; none if another worker was first."""
        is_doubtful = self._leases.is_doubtful(lease.tasks[reply.place or 0])
        task = self._leases.settle(lease, reply.place or 0)
        if task is None:
            return
        outcome = _outcome(task, reply)
        if isinstance(outcome, Published):
            self._paces.add(task, outcome.seconds)
            if is_doubtful:  # who had published it is one of this batch
                outcome = dataclasses.replace(outcome, by_another=False)
        yield outcome

    def _meet_again(self, worker: Worker) -> None:
        """A worker died unnoticed, and its successor takes nothing that was lent to it."""
        for lease, _ in worker.leases:
            self._leases.give_back(lease)
        worker.leases.clear()
        worker.greet()

    def _mourn(self, worker: Worker) -> Iterator[Outcome]:
        """A worker draws one lease after another: it died over the first that is not done."""
        died = False
        for lease, _ in worker.leases:
            yield from self._published_unheard(lease)
            if lease.open and not died:
                died = True
                yield from self._leases.died(lease)
            self._leases.give_back(lease)

    def _refuse(self, worker: Worker, error: PixartError) -> None:
        """Give a worker up for what its machine lacks; what all would meet ends the batch.

        Raises:
            PixartError: `error`, when it is of that kind.
        """
        if error.code not in _OF_ONE_MACHINE:
            raise error
        for lease, _ in worker.leases:
            self._leases.give_back(lease)
        worker.leases.clear()
        self._fleet.give_up(worker, PixartError(error.code, f"{worker.name}: {error.message}", error.hint))


def _outcome(task: Task, reply: Reply) -> Outcome:
    if reply.error is not None or reply.path is None:
        return Failed(task=task, error=PixartError(*(reply.error or ("bug", "a worker gave no answer", ""))))
    return Published(
        task=task, path=reply.path, provenance=reply.provenance, seconds=reply.seconds,
        warnings=reply.warnings, by_another=reply.by_another,
    )  # fmt: skip
