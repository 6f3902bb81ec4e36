"""Ray as this command meets it: connected and left again, or a clear word about why that is impossible."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from pixart_cli.core.errors import PixartError

_NAMESPACE: Final = "pixart"
_STORE_BYTES: Final = 100_000_000  # of a private Ray: pictures never pass through it
_SECONDS: Final = 5.0
_EXTRA: Final = "Install it, on every machine of the cluster: pip install 'pixart-cli[ray]'"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked of the cluster. None is left to it: a private one here, a worker a GPU or machine.

    `allow_mixed`: workers that draw otherwise than the others are kept.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    allow_mixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many workers there are to be, and what each takes of its machine."""

    workers: int
    cpus: int
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker may begin: a machine of the cluster, and how many of its cores it takes."""

    node: str
    cpus: int


def check_installed() -> None:
    """Raise "extra-missing" if Ray is not installed here."""
    if find_spec("ray") is None:
        raise PixartError("extra-missing", "--engine ray needs Ray, which is not installed", _EXTRA)


@contextmanager
def connected(wish: Wish) -> Iterator[Any]:
    """Gives the module `ray`, connected; private processes of it are gone afterwards.

    A caller's own connection is used, and left as it is.

    Raises:
        PixartError: "extra-missing" or "cluster-unreachable".
    """
    check_installed()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = wish.address or os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _check_reachable(address)
    else:  # 15 else: beside anything else that computes, workers would hardly begin
        os.environ.setdefault("RAY_worker_niceness", "0")
    with _own_signals():
        import ray

        logging.getLogger("ray").setLevel(logging.CRITICAL)  # importing it set another
        was_there = ray.is_initialized()
        try:
            if not was_there:
                ray.init(**_arguments(address, wish))
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _unreachable(address or "a private Ray", _first_line(error)) from error
    _keep_off_standard_output()
    try:
        yield ray
    finally:
        if not was_there:
            ray.shutdown()


def _arguments(address: str | None, wish: Wish) -> dict[str, Any]:
    common: dict[str, Any] = {
        "namespace": _NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "configure_logging": False,
    }
    if address is not None:
        return common | {"address": address}
    # "local" even where RAY_ADDRESS is set to nothing, or another Ray runs on this machine.
    return common | {
        "address": "local",
        "num_cpus": max(os.cpu_count() or 1, wish.workers or 1),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }


def _check_reachable(address: str) -> None:
    """Ask the port first: Ray itself tries for more than a minute, and then ends the process."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        hint = "Write HOST:PORT, as ray start --head prints it, and call pixart on a machine of the cluster."
        raise PixartError("usage", f"--address cannot be {address!r}", hint)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> PixartError:
    hint = (
        "See whether it runs: ray status. This machine has to be one of its own: ray start --address=..."
        " If the cluster has a token: RAY_AUTH_MODE=token."
    )
    return PixartError("cluster-unreachable", f"no Ray cluster can be reached at {address}: {reason}", hint)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; Ctrl-C and the like stay this command's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _keep_off_standard_output() -> None:
    """Ray prints what its daemons say on standard output, which is for names of pictures alone.

    No setting stops that (2.60, `listen_error_messages`); a test holds it.
    """
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def size_of(wish: Wish, nodes: list[Mapping[str, Any]], *, on_cpu: bool) -> Size:
    """How many workers fit `wish` on `nodes`, as ``ray.nodes()`` describes them.

    Without a word about it a worker gets a GPU where there are any, else a machine.

    Raises:
        PixartError: "cluster-too-small" where no machine has room for one worker.
    """
    has = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = wish.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if not on_cpu and any(each.get("GPU", 0) for each in has) else 0.0
    room = [_room(each, gpus) for each in has]
    if not any(room):
        most = max((each.get("GPU" if gpus else "CPU", 0) for each in has), default=0)
        need = f"{gpus:g} GPUs" if gpus else "1 CPU"
        what = f"no machine of the cluster has room for a worker, which needs {need}: the most is {most:g}"
        hint = "Say less with --gpus-per-worker, 0 for the processor, or add machines."
        raise PixartError("cluster-too-small", what, hint)
    workers = wish.workers or (sum(room) if gpus else sum(1 for each in room if each))
    return Size(workers=workers, cpus=1 if gpus else _cpus(room, workers), gpus=gpus)


def _room(has: Mapping[str, Any], gpus: float) -> int:
    """How many workers a machine has GPUs for, or, where they take none, its cores."""
    return int(has.get("GPU", 0) / gpus) if gpus else int(has.get("CPU", 0))


def _cpus(room: list[int], workers: int) -> int:
    """Cores a worker draws with: those of the smallest machine, shared by the workers it gets."""
    machines = [cores for cores in room if cores]
    return max(1, min(machines) // -(-workers // len(machines)))


class Machines:
    """Knows the machines of a cluster, and so those that join it later.

    Args:
        wish: what was asked of the cluster.
        size: what came of it.
        nodes: those that are there, as ``ray.nodes()`` describes them.
    """

    def __init__(self, wish: Wish, size: Size, nodes: list[Mapping[str, Any]]) -> None:
        self._wanted, self._size = wish.workers, size
        self._known = {node["NodeID"] for node in nodes}

    def joined(self, nodes: list[Mapping[str, Any]], workers: int) -> list[Place]:
        """Where further workers may begin, `workers` being there: on machines that were not seen before.

        As many are added as the machines have room for, or as are missing of those that were asked for.
        """
        alive = [node for node in nodes if node["Alive"]]
        new = [node for node in alive if node["NodeID"] not in self._known]
        self._known |= {node["NodeID"] for node in new}
        wanted = self._wanted or sum(len(self._places(node)) for node in alive)
        places = [place for node in new for place in self._places(node)]
        return places[: max(0, wanted - workers)]

    def _places(self, node: Mapping[str, Any]) -> list[Place]:
        has, size = node["Resources"], self._size
        cpus, room = min(size.cpus, int(has.get("CPU", 0))), _room(has, size.gpus)
        if not size.gpus:
            room = room // max(1, cpus) if self._wanted else 1
        return [Place(node=node["NodeID"], cpus=cpus)] * room if cpus else []
