"""What the tests of a batch share: a resolver in a folder, entries of a list, and renderers that fail."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import Job
from pixart_cli.core.rendering import ProgressEvent
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.features.batch.engine import Published
from pixart_cli.features.batch.local import LocalEngine
from pixart_cli.features.batch.resolve import Resolver
from pixart_cli.features.batch.run import Batch
from tests.conftest import StandIn

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"res": "64x48", "output": "out/"}


def entry(prompt: str, line: int = 1, **options: object) -> Job:
    return Job(prompt=prompt, options=options, line=line, source="list.txt")


class Moody(StandIn):
    """A stand-in that fails at prompts that say so: "poison" when it is drawn, "gall" when it is read."""

    def __init__(self, failure: Callable[[], BaseException] = lambda: ValueError("it is poison")) -> None:
        super().__init__()
        self.how = failure
        self.calls: list[int] = []

    def render(self, requests, *, on_progress):
        self.calls.append(len(requests))
        if any("gall" in request.prompt for request in requests):
            raise self.how()
        on_progress(ProgressEvent(stage="encode", step=1, total=1))
        for index, request in enumerate(requests):
            on_progress(ProgressEvent(stage="denoise", step=0, total=1, index=index))
            if "poison" in request.prompt:
                raise self.how()
            yield from super().render([request], on_progress=lambda event: None)


@pytest.fixture
def resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolver:
    monkeypatch.chdir(tmp_path)
    return Resolver(SMALL, cwd=tmp_path)


class Runs:
    """Runs batches in one folder; every one is a fresh process in all but name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batch: Batch | None = None

    def events(self, jobs, renderer=None, *, typed=SMALL, **options) -> Iterator[object]:
        renderer = renderer or StandIn()
        resolver = Resolver(typed, cwd=self.folder)
        self.batch = Batch(resolver, typed=typed, **options)
        engine = LocalEngine(
            lambda model, plan, files: renderer, resolver.plan_of, force=options.get("force", False),
            on_progress=lambda event: None, pause=self.batch.pause, begin=self.batch.begin,
        )  # fmt: skip
        return self.batch.run(jobs, engine)

    def drawn(self, jobs, renderer=None, **options) -> list[str]:
        """The names of what was drawn, in order."""
        events = self.events(jobs, renderer, **options)
        return [event.path.name for event in events if isinstance(event, Published) and not event.by_another]

    def there(self) -> list[str]:
        """The pictures that exist, under whatever name; and whatever else lies there."""
        own = ("records.jsonl", "failed.txt")
        return sorted(path.name for path in (self.folder / "out").iterdir() if path.name not in own)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(tmp_path)
    return Runs(tmp_path)


def failing(code: str, message: str = "it failed") -> Callable[[], PixartError]:
    return lambda: PixartError(code, message)


PLAN = MemoryPlan(
    device="cpu", dtype="float32", offload="full", estimate_bytes=0, seconds_estimate=None, reasons=()
)


def plan_of(task):
    """A plan that asks no machine; one picture is too large for it."""
    if task.request.width > 8000:
        raise PixartError("size-invalid", "too large")
    return PLAN


def engine_of(renderers, **options):
    values = {"force": False, "on_progress": lambda event: None, "pause": lambda: None}
    return LocalEngine(renderers, plan_of, **(values | options))


def tasks_of(resolver, *entries):
    return iter([task for n, each in enumerate(entries) for task in resolver.tasks(each, n)])


# Workers find the tests, and are not nice (15 else), or on a busy machine they would never begin.
OF_RAY = {
    "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
}  # fmt: skip


@pytest.fixture(scope="session")
def one_ray():
    """A small Ray for all tests of a process: a cluster of one machine, which others may join."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (pixart-cli[ray])")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in OF_RAY.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        kept = signal.getsignal(signal.SIGTERM)
        head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100_000_000}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL", namespace="pixart")
        signal.signal(signal.SIGTERM, kept)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
