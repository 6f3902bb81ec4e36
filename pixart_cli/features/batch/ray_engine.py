"""The engine of many machines: workers of a Ray cluster draw and publish, this process lends and listens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.cluster import Wish, connected, size_of
from pixart_cli.features.batch.engine import Failed, Outcome, Published, Task
from pixart_cli.features.batch.fleet import Fleet, Patience, Worker
from pixart_cli.features.batch.leases import Lease, Leases
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
        with connected(self._wish) as ray:
            size = size_of(self._wish, ray.nodes(), on_cpu=self._orders.device == "cpu")
            fleet = Fleet(ray, size, self._orders, self._say, self._painter, patience=self._patience)
            run = _Run(ray, fleet, Leases(self._placed(tasks), workers=size.workers), self._orders)
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

    def __init__(self, ray: Any, fleet: Fleet, leases: Leases, orders: Orders) -> None:
        self._ray, self._fleet, self._leases, self._orders = ray, fleet, leases, orders

    def all(self, pause: Callable[[], None]) -> Iterator[Outcome]:
        """Lend until nothing is left, and give what comes of it."""
        while True:
            pause()
            yield from self._lend()
            if self._is_over():
                break
            for worker in self._fleet.wait(_TICK):
                yield from self._heard(worker)
                pause()
            if not self._fleet.workers and self._fleet.lost is not None:
                raise self._fleet.lost
        if self._leases.wrong is not None:
            raise self._leases.wrong

    def farewell(self) -> Iterator[Outcome]:
        """Have all workers leave after their step, and give what they had drawn by then."""
        until = time.monotonic() + _FAREWELL
        for worker in self._fleet.workers:
            worker.hello = None
            worker.stop()
        while any(worker.leases for worker in self._fleet.workers) and time.monotonic() < until:
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
                    if self._leases.is_again(lease):
                        yield from self._published_unheard(lease)
                    if lease.open:
                        worker.lend(lease)

    def _published_unheard(self, lease: Lease) -> Iterator[Published]:
        """Those pictures of a lease that a worker published before it died, and could not tell of."""
        if self._orders.force:  # what is there may be what is to be replaced
            return
        for place, task in list(lease.open.items()):
            path = task.existing
            if path is not None:
                self._leases.settle(lease, place)
                yield Published(task=task, path=path, provenance={}, seconds=0.0, by_another=True)

    def _is_over(self) -> bool:
        return not any(worker.leases for worker in self._fleet.workers) and self._leases.is_empty

    def _heard(self, worker: Worker) -> Iterator[Outcome]:
        """All that `worker` says now; its death is the fault of what it was drawing, perhaps."""
        try:
            for lease, reply in self._fleet.replies(worker):
                if reply is not None and reply.place is None:
                    self._refuse(worker, PixartError(*reply.error))
                    return
                if reply is not None:
                    yield _outcome(self._leases.settle(lease, reply.place), reply)
                elif lease.open:  # lent to a life that was over
                    self._leases.give_back(lease)
                    worker.greet()
        except self._ray.exceptions.RayActorError as error:
            yield from self._mourn(worker)
            self._fleet.rest(worker, str(error))
        except self._ray.exceptions.RayError as error:
            what = f"a bug in pixart, in {worker.name}: {str(error).strip().splitlines()[-1][:300]}"
            self._refuse(worker, PixartError("bug", what, "Report it."))

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
