"""What runs in a worker of a cluster: one loaded pipeline, pictures in, small replies out, never pixels."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pixart_cli
from pixart_cli.core.errors import PixartError
from pixart_cli.core.hub_code import refuse_hub_code
from pixart_cli.core.rendering import ProgressEvent, Renderer
from pixart_cli.diffusion.device import Facts, Machine, MemoryPlan, plan, probe
from pixart_cli.diffusion.quantisation import check_library
from pixart_cli.features.batch.engine import Outcome, Published, Task
from pixart_cli.features.batch.local import LocalEngine
from pixart_cli.features.generate import network, spec_of

_COUNTED: Final = ("torch", "diffusers")  # whose versions decide pixels


@dataclass(frozen=True, kw_only=True)
class Orders:
    """How every worker draws: what was said for the whole batch. `renderers` replaces the networks."""

    device: str
    memory: str
    cache_bytes: int
    together: bool
    force: bool
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
        self._machine: Machine | None = None
        self._plans = lru_cache(1024)(self._planned)
        self._leave = threading.Event()
        self._engine = LocalEngine(
            self._renderer_of, self.plan_of, force=orders.force,
            on_progress=_silent, pause=self._pause,
        )  # fmt: skip

    def ready(self) -> tuple[str, dict[str, str]]:
        """Where this worker is, and the versions it draws with."""
        return socket.gethostname(), versions()

    def stop(self) -> None:
        """Leave after this step; called while it paints."""
        self._leave.set()

    def paint(self, tasks: Sequence[Task]) -> Iterator[Reply]:
        """Draw and publish `tasks`; a reply as soon as one is there."""
        places = {id(task): place for place, task in enumerate(tasks)}
        try:
            for outcome in self._engine.run(iter(tasks)):
                yield _reply(places[id(outcome.task)], outcome)
                if not isinstance(outcome, Published) and outcome.error.code == "bug":
                    _leave_if_device_is_lost()
        except Leave:
            return
        except PixartError as error:
            yield Reply(place=None, error=_said(error))

    def plan_of(self, task: Task) -> MemoryPlan:
        """How this machine draws `task`."""
        request = task.request
        check_library(request.text_encoder_bits)
        return self._plans(
            request.model, request.width, request.height, request.refine, request.text_encoder_bits
        )

    def _planned(self, model: str, width: int, height: int, refine: str, bits: int) -> MemoryPlan:
        if self._machine is None:
            self._machine = probe()
        return plan(
            self._machine, spec_of(model), width, height,
            device=self._orders.device, memory=self._orders.memory, refine=refine,
            facts=Facts(encoder_bits=bits),
        )  # fmt: skip

    def _renderer_of(self, model: str, memory_plan: MemoryPlan, files: dict[str, Path]) -> Renderer:
        orders = self._orders
        if orders.renderers is not None:
            return orders.renderers(model, memory_plan)  # type: ignore[no-any-return]
        return network(model, memory_plan, files, cache_bytes=orders.cache_bytes, together=orders.together)

    def _pause(self) -> None:
        if self._leave.is_set():
            raise Leave


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


def _leave_if_device_is_lost() -> None:
    """After some errors a process can never use its GPU again: it ends, and another takes its place."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            os._exit(1)
