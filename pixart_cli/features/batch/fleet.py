"""The workers of a cluster: begun, asked who they are, rested after a death, and given up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.alike import Alike
from pixart_cli.features.batch.cluster import Place, Size
from pixart_cli.features.batch.leases import WINDOW, Lease
from pixart_cli.features.batch.painter import Orders, Painter

_CONTROL: Final = "control"  # the group of calls that do not wait for the one that paints
_NEVER_BEGAN: Final = "creation task"  # what Ray says of an actor whose first line failed: it does not retry
_LONGEST_REST: Final = 30.0
_TRIES: Final = 6  # to hear from a worker that died, with rests between


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How many seconds pass before something is done.

    Attributes:
        room: before it is said that workers find none.
        rescan: between two looks for machines that joined.
        late: before a worker can be late with its pictures, however quick they usually are.
    """

    room: float = 60.0
    rescan: float = 30.0
    late: float = 30.0


def rest_after(deaths: int) -> float:
    """Seconds that a worker rests after so many deaths in a row."""
    return min(2.0 ** (deaths - 1), _LONGEST_REST)


class Worker:
    """One actor, and the leases it has: the first is being drawn, each with the stream of its replies."""

    def __init__(self, actor: Any, name: str) -> None:
        self.actor, self.name = actor, name
        self.leases = deque[tuple[Lease, Any]]()
        self.hello: Any = None
        self.life = ""
        self.is_up = False
        self.silent = 0
        self.rests_until = 0.0
        self.heard_at = 0.0

    @property
    def has_room(self) -> bool:
        """Whether it may get another lease."""
        return self.is_up and len(self.leases) < WINDOW

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a lease."""
        return self.is_up and not self.leases

    def lend(self, lease: Lease) -> None:
        """Send it the pictures of `lease`."""
        if not self.leases:
            self.heard_at = time.monotonic()
        stream = self.actor.paint.options(num_returns="streaming").remote(lease.tasks, self.life)
        self.leases.append((lease, stream))

    def greet(self) -> None:
        """Ask who it is; it may have to be started for that, and gets no lease before it answers."""
        self.is_up = False
        self.hello = self.actor.ready.options(concurrency_group=_CONTROL).remote()

    def stop(self) -> None:
        """Have it leave after its step."""
        self.actor.stop.options(concurrency_group=_CONTROL).remote()


class Fleet:
    """All workers.

    Args:
        ray: the module, connected.
        size: how many at first, and what each takes.
        orders: how they draw.
        say: told what a person should know of them.
        painter: what runs in each.
        patience: how long is waited for what.
        allow_mixed: keep workers that draw otherwise than the others.

    Attributes:
        workers: those that were not given up.
        lost: why the last one was given up.
    """

    def __init__(
        self,
        ray: Any,
        size: Size,
        orders: Orders,
        say: Callable[[str], None],
        painter: type[Painter] = Painter,
        *,
        patience: Patience,
        allow_mixed: bool = False,
    ) -> None:
        self._ray, self._say, self._orders, self._allow_mixed = ray, say, orders, allow_mixed
        self._alike = Alike(on_gpu=size.gpus > 0)
        self._painter = ray.remote(
            max_restarts=-1, max_task_retries=0, concurrency_groups={_CONTROL: 1},
            num_cpus=size.cpus, num_gpus=size.gpus, scheduling_strategy="SPREAD",
        )(painter)  # fmt: skip
        self.workers: list[Worker] = []
        self._begun = 0
        self.lost: PixartError | None = None
        self._complains_at = time.monotonic() + patience.room
        for _ in range(size.workers):
            self._begin(self._painter)

    def _begin(self, painter: Any) -> None:
        self._begun += 1
        worker = Worker(painter.remote(self._orders), f"worker {self._begun}")
        worker.greet()
        self.workers.append(worker)

    def add(self, places: Iterable[Place]) -> None:
        """Begin a worker at each of `places`, or where there is room for it if that machine goes again."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for place in places:
            there = NodeAffinitySchedulingStrategy(place.node, soft=True)
            self._begin(self._painter.options(num_cpus=place.cpus, scheduling_strategy=there))

    @property
    def draws(self) -> bool:
        """Whether a worker has pictures without an outcome."""
        return any(lease.open for worker in self.workers for lease, _ in worker.leases)

    def wait(self, seconds: float) -> list[Worker]:
        """The workers that have something to say, as soon as one has, or after so long."""
        self._wake()
        waiting: dict[Any, Worker] = {}
        for worker in self.workers:
            waiting |= {stream: worker for _, stream in worker.leases}
            if worker.hello is not None:
                waiting[worker.hello] = worker
        if not waiting:
            time.sleep(min(seconds, 0.1))
            return []
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=seconds)
        for reference in ready:
            if reference == waiting[reference].hello:
                self._meet(waiting[reference])
        return [waiting[reference] for reference in ready]

    def _wake(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if not worker.is_up and worker.hello is None and now >= worker.rests_until:
                worker.greet()
        if now > self._complains_at:
            self._complains_at = float("inf")
            waiting = sum(not worker.is_up and not worker.silent for worker in self.workers)
            if waiting:
                many = f"{waiting} of {len(self.workers)} workers"
                self._say(f"{many} have not begun yet, and join when they find room")

    def _meet(self, worker: Worker) -> None:
        """Hear who a worker is, and refuse it where it would draw otherwise than the others."""
        hello, worker.hello = worker.hello, None
        try:
            said = self._ray.get(hello)
        except self._ray.exceptions.RayActorError as error:
            if _NEVER_BEGAN in str(error):
                self._refuse_start(worker, error)
            else:
                self.rest(worker, str(error))
            return
        except self._ray.exceptions.RayError as error:
            self._refuse_start(worker, error)
            return
        worker.name = f"{worker.name.partition(' on ')[0]} on {said.host}"  # Ray may begin it elsewhere
        otherwise = self._alike.otherwise(worker.name, said)
        if otherwise and self._allow_mixed:
            self._say(f"{worker.name} {otherwise}: what it draws may differ")
        elif otherwise:
            hint = "Have all machines of the cluster alike, or draw with all as they are: --allow-mixed."
            self.give_up(worker, PixartError("fleet-mixed", f"{worker.name} {otherwise}", hint))
            return
        worker.life, worker.is_up = said.life, True

    def _refuse_start(self, worker: Worker, error: BaseException) -> None:
        hint = "Install the same pixart on every machine of the cluster: pip install 'pixart-cli[ray]'"
        what = f"{worker.name} cannot begin: {_last_line(error)}"
        self.give_up(worker, PixartError("fleet-mixed", what, hint))

    def rest(self, worker: Worker, reason: str) -> None:
        """A worker died: its successor is asked after a rest, a longer one every time."""
        worker.is_up, worker.hello = False, None
        worker.leases.clear()
        worker.silent += 1
        worker.rests_until = time.monotonic() + rest_after(worker.silent)
        if worker.silent >= _TRIES:
            what = f"{worker.name} does not come back: {reason.strip().splitlines()[0][:200]}"
            self.give_up(worker, PixartError("process-lost", what, "See its log: ray logs."))

    def give_up(self, worker: Worker, error: PixartError) -> None:
        """Do without a worker from now on."""
        self._say(f"{error.message}; going on without it")
        self.lost = error
        self.workers.remove(worker)
        self._ray.kill(worker.actor, no_restart=True)

    def replies(self, worker: Worker) -> Iterator[tuple[Lease, Any]]:
        """All that has come from a worker, with the lease it is about; None at a lease's end.

        Of one lease everything is heard before anything of the next: a death is told after the last reply.

        Raises:
            RayError: when it died, or its code failed.
        """
        while worker.leases:
            lease, stream = worker.leases[0]
            ready, _ = self._ray.wait([stream], num_returns=1, timeout=0)
            if not ready:
                return
            try:
                reply = self._ray.get(next(stream))
            except StopIteration:
                worker.leases.popleft()
                reply = None
            worker.silent, worker.heard_at = 0, time.monotonic()
            yield lease, reply

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            self._ray.kill(worker.actor, no_restart=True)
        self.workers = []


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
