"""What workers of a cluster draw with in tests: stand-ins that die. Importable there, so no fixtures here."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.cluster import Wish
from pixart_cli.features.batch.engine import Failed
from pixart_cli.features.batch.fleet import Patience
from pixart_cli.features.batch.painter import Orders, Painter
from pixart_cli.features.batch.ray_engine import RayEngine
from pixart_cli.features.batch.resolve import Resolver
from pixart_cli.features.batch.run import Batch
from pixart_cli.features.batch.store import FOLDERS, Folders
from tests.conftest import StandIn
from tests.features.batch.conftest import PLAN, SMALL


def _first(marker: Path) -> bool:
    """Whether nobody was here before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Renderers:
    """Gives stand-ins that note in `folder` what they draw, and fail at some words.

    "poison" kills, "mortal" once; "broken" is an error, "fickle" once; "slow" lasts, "tar" once for ever.
    """

    folder: Path

    def __call__(self, model, plan):
        return _Mortal(self.folder)


class _Mortal(StandIn):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        (folder / f"process-{os.getpid()}").touch()

    def render(self, requests, *, on_progress):
        for request in requests:
            with (self.folder / "begun").open("a") as file:
                file.write(request.prompt + "\n")
            if "slow" in request.prompt:
                time.sleep(0.3)
            if "tar" in request.prompt and _first(self.folder / "stuck"):
                time.sleep(3600)
            if "fickle" in request.prompt and _first(self.folder / "failed"):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if "poison" in request.prompt or (
                "mortal" in request.prompt and _first(self.folder / "died-before")
            ):
                die()
            if "broken" in request.prompt:
                raise ValueError("it is broken")
            yield from super().render([request], on_progress=on_progress)


@dataclass(frozen=True)
class DyingFolders(Folders):
    """Dies once, just after a picture was published and before anybody was told."""

    folder: Path

    def publish(self, data, paths, fingerprint, *, by_name=False):
        published = super().publish(data, paths, fingerprint, by_name=by_name)
        if "ghost" in paths[0].name and _first(self.folder / "died-after"):
            die()
        return published


class _Planner:
    """Plans without a look at the machine."""

    def plan_of(self, _request):
        return PLAN

    def arithmetic_of(self, _model):
        return PLAN.device, PLAN.dtype


class Swift(Painter):
    """Begins at once: what looks at a machine takes seconds to load."""

    def __init__(self, orders):
        super().__init__(orders)
        self._planner = _Planner()


class Keyed(Swift):
    """Has the keys of a bucket that takes any."""

    def __init__(self, orders):
        os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        super().__init__(orders)


class OldPainter(Swift):
    """All of these are of another version."""

    def ready(self):
        said = super().ready()
        return replace(said, versions=said.versions | {"diffusers": "0.1"})


class OneOldPainter(Swift):
    """One of these is of another version: the one that is there first."""

    def ready(self):
        said = super().ready()
        first = _first(self._orders.renderers.folder / "old")
        return replace(said, versions=said.versions | {"diffusers": "0.1"}) if first else said


class OneCoarsePainter(Swift):
    """One of these draws in another precision."""

    def ready(self):
        said = super().ready()
        first = _first(self._orders.renderers.folder / "coarse")
        return replace(said, arithmetic={"mini": ("cpu", "bfloat16")}) if first else said


class LosingPainter(Swift):
    """Loses its GPU at "fickle", once."""

    def _has_lost_its_device(self):
        return _first(self._orders.renderers.folder / "lost")


class OneBarePainter(Swift):
    """One of these lacks the weights."""

    def _renderer_of(self, model, memory_plan, files):
        if _first(self._orders.renderers.folder / "bare"):
            raise PixartError("model-missing", "no weights here", "Pull them.")
        return super()._renderer_of(model, memory_plan, files)


class UselessPainter(Swift):
    """Cannot even begin."""

    def __init__(self, orders):
        raise OSError("no such library")


class Reborn(Swift):
    """As one that died between two leases, once and unnoticed: the second is lent to a life that is over."""

    def paint(self, tasks, life):
        if _first(self._orders.renderers.folder / "reborn"):
            self._life = "another"
        yield from super().paint(tasks, life)


PATIENT = Patience(room=3600, late=3600)


TWO = Wish(workers=2, gpus_per_worker=0)


def orders_of(folder: Path) -> Orders:
    """Stand-ins that note in `folder` what they draw."""
    return Orders(
        device="cpu", memory="auto", cache_bytes=0, together=False, force=False,
        models=("mini",), renderers=Renderers(folder),
    )  # fmt: skip


class _Into(Resolver):
    """Has `store` keep all pictures."""

    def __init__(self, store, folder: Path) -> None:
        super().__init__(SMALL, cwd=folder)
        self.kept_by = store

    def tasks(self, entry, index):
        return [replace(task, store=self.kept_by) for task in super().tasks(entry, index)]


class DrawnOnRay:
    """One run of a batch on Ray, in a folder."""

    def __init__(self, folder: Path, jobs, *, painter=Swift, store=FOLDERS, pause=None, wish=TWO,
                 patience=PATIENT, said=None):  # fmt: skip
        resolver = _Into(store, folder)
        self.batch = Batch(resolver, typed=SMALL)
        self.said: list[str] = [] if said is None else said
        self.events: list[object] = []
        engine = RayEngine(
            wish, orders_of(folder), pause=lambda: pause and pause(self.events),
            say=self.said.append, painter=painter, patience=patience,
        )  # fmt: skip
        self.events = []
        for event in self.batch.run(jobs, engine):
            self.events.append(event)

    @property
    def failed(self):
        return [each for each in self.events if isinstance(each, Failed)]
