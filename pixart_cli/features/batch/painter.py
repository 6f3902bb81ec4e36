"""What runs in a worker of a cluster: one loaded pipeline, pictures in, small replies out, never pixels."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pixart_cli
from pixart_cli.core.errors import PixartError
from pixart_cli.core.hub_code import refuse_hub_code
from pixart_cli.core.rendering import ProgressEvent, Renderer
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.quantisation import check_library
from pixart_cli.features.batch.engine import Failed, Outcome, Published, Task
from pixart_cli.features.batch.local import LocalEngine
from pixart_cli.features.batch.planning import Planner
from pixart_cli.features.generate import network

_COUNTED: Final = ("torch", "diffusers")  # whose versions decide pixels


@dataclass(frozen=True, kw_only=True)
class Orders:
    """How every worker draws: what was said for the whole batch.

    `models` are those that are known to be asked for; `renderers` replaces the networks.
    """

    device: str
    memory: str
    cache_bytes: int
    together: bool
    force: bool
    compiled: bool = False
    models: tuple[str, ...] = ()
    renderers: Any = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The outcome of the picture at `place` of a lease; `place` None: `error` is every picture's."""

    place: int | None
    path: Path | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    by_another: bool = False
    error: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Who a worker is.

    Attributes:
        host: where it runs.
        life: another after every death.
        versions: of what decides pixels.
        arithmetic: by model, kind of device and precision; of a model that is not there nothing.
    """

    host: str
    life: str
    versions: dict[str, str]
    arithmetic: dict[str, tuple[str, str]]


class Leave(BaseException):
    """Leaves the engine between two steps; no error, so that no picture is blamed for it."""


def versions() -> dict[str, str]:
    """What has to be the same in all workers. What a build adds, as "+cu128", is no other version."""
    found = {name: version(name).partition("+")[0] for name in _COUNTED}
    return {"pixart": pixart_cli.__version__} | found


class Painter:
    """Draws leases, one after another, as the engine of this machine does.

    Args:
        orders: how.
    """

    def __init__(self, orders: Orders) -> None:
        refuse_hub_code()
        self._orders = orders
        self._life = uuid.uuid4().hex
        self._planner = Planner(device=orders.device, memory=orders.memory, compiled=orders.compiled)
        self._leave = threading.Event()
        self._engine = LocalEngine(
            self._renderer_of, self.plan_of, force=orders.force,
            on_progress=_silent, pause=self._pause,
        )  # fmt: skip

    def ready(self) -> Hello:
        """Who this worker is."""
        arithmetic = {}
        for model in self._orders.models:
            with suppress(PixartError):  # told of the pictures that ask for it
                arithmetic[model] = self._planner.arithmetic_of(model)
        return Hello(host=socket.gethostname(), life=self._life, versions=versions(), arithmetic=arithmetic)

    def stop(self) -> None:
        """Leave after this step; called while it paints."""
        self._leave.set()

    def paint(self, tasks: Sequence[Task], life: str) -> Iterator[Reply]:
        """Draw and publish `tasks`; a reply as soon as one is there.

        None, and nothing is drawn, if they were lent to an earlier life: Ray gives the calls to a worker that
        died unnoticed to its successor, while who lent them hears of the death and lends them to another.
        """
        if life != self._life:
            return
        places = {id(task): place for place, task in enumerate(tasks)}
        try:
            for outcome in self._engine.run(iter(tasks)):
                if isinstance(outcome, Failed) and outcome.error.code == "bug":
                    self._leave_if_device_is_lost()
                yield _reply(places[id(outcome.task)], outcome)
        except Leave:
            return
        except PixartError as error:
            yield Reply(place=None, error=_said(error))

    def plan_of(self, task: Task) -> MemoryPlan:
        """How this machine draws `task`."""
        check_library(task.request.text_encoder_bits)
        return self._planner.plan_of(task.request)

    def _renderer_of(self, model: str, memory_plan: MemoryPlan, files: dict[str, Path]) -> Renderer:
        orders = self._orders
        if orders.renderers is not None:
            return orders.renderers(model, memory_plan)  # type: ignore[no-any-return]
        return network(model, memory_plan, files, cache_bytes=orders.cache_bytes, together=orders.together)

    def _pause(self) -> None:
        if self._leave.is_set():
            raise Leave

    def _leave_if_device_is_lost(self) -> None:
        """After some errors a process can never use its GPU again: another takes its place, as after a death.

        The picture at which that happened is not blamed, but drawn again.
        """
        if self._has_lost_its_device():
            os._exit(1)

    def _has_lost_its_device(self) -> bool:
        import torch

        if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
            return False
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return True
        return False


def _silent(_event: ProgressEvent) -> None:
    """Steps are not told over the network."""


def _reply(place: int, outcome: Outcome) -> Reply:
    if not isinstance(outcome, Published):
        return Reply(place=place, error=_said(outcome.error))
    return Reply(
        place=place, path=outcome.path, provenance=dict(outcome.provenance), seconds=outcome.seconds,
        warnings=outcome.warnings, by_another=outcome.by_another,
    )  # fmt: skip


def _said(error: PixartError) -> tuple[str, str, str]:
    return error.code, error.message, error.hint
