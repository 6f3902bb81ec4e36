"""A batch on a real Ray: the same bytes as one process gives, whatever dies on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.cluster import Wish
from pixart_cli.features.batch.engine import Failed
from pixart_cli.features.batch.painter import Orders, Painter
from pixart_cli.features.batch.ray_engine import RayEngine
from pixart_cli.features.batch.resolve import Resolver
from pixart_cli.features.batch.run import Batch
from pixart_cli.features.batch.store import FOLDERS
from tests.features.batch.conftest import SMALL, Runs, entry
from tests.features.batch.mortal import (
    DyingFolders,
    OldPainter,
    OneOldPainter,
    Renderers,
    UselessPainter,
)

ray = pytest.importorskip("ray", reason="Ray is not installed (pixart-cli[ray])")
ROOT = Path(__file__).resolve().parents[3]
# One Ray for all, and so one process of pytest-xdist.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def one_ray(tmp_path_factory):
    """A small Ray of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        kept = signal.getsignal(signal.SIGTERM)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000,
            log_to_driver=False, logging_level="CRITICAL", namespace="pixart",
        )  # fmt: skip
        signal.signal(signal.SIGTERM, kept)
        yield
        ray.shutdown()


class Drawn:
    """One run of a batch on Ray, in a folder."""

    def __init__(self, folder: Path, jobs, *, painter=Painter, store=FOLDERS, pause=None, force=False):
        resolver = Resolver(SMALL, cwd=folder)
        self.batch = Batch(resolver, typed=SMALL, force=force)
        self.said: list[str] = []
        self.events: list[object] = []
        orders = Orders(
            device="cpu", memory="auto", cache_bytes=0, together=False, force=force, store=store,
            renderers=Renderers(folder),
        )  # fmt: skip
        engine = RayEngine(
            Wish(workers=2, gpus_per_worker=0), orders, pause=lambda: pause and pause(self.events),
            say=self.said.append, painter=painter,
        )  # fmt: skip
        self.events = []
        for event in self.batch.run(jobs, engine):
            self.events.append(event)

    @property
    def failed(self):
        return [each for each in self.events if isinstance(each, Failed)]


def bytes_in(folder: Path) -> dict[str, bytes]:
    """All that lies there, but for what tells of the batch."""
    own = ("records.jsonl", "failed.txt")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in own}


def pictures_in(folder: Path) -> dict[str, bytes]:
    """All that has a picture's name: who was killed leaves unfinished files under other names."""
    return {name: data for name, data in bytes_in(folder).items() if name.endswith(".png")}


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """What one process draws of a list."""

    def draw(jobs):
        (tmp_path / "alone").mkdir()
        monkeypatch.chdir(tmp_path / "alone")
        runs = Runs(tmp_path / "alone")
        list(runs.events(jobs))
        monkeypatch.chdir(tmp_path)
        return bytes_in(tmp_path / "alone" / "out")

    return draw


JOBS = [entry(f"sun {n}", n) for n in range(20)]


def test_two_workers_draw_what_one_process_draws(one_ray, tmp_path, alone):
    expected = alone(JOBS)
    drawn = Drawn(tmp_path, JOBS)
    assert bytes_in(tmp_path / "out") == expected
    assert (len(expected), drawn.batch.tally.drawn, drawn.said) == (20, 20, [])
    assert sorted((tmp_path / "begun").read_text().split("\n")[:-1]) == sorted(job.prompt for job in JOBS)
    again = Drawn(tmp_path, JOBS)
    assert (again.batch.tally.drawn, again.batch.tally.existing) == (0, 20)


def test_workers_that_die_before_and_after_publishing_lose_nothing(one_ray, tmp_path, alone):
    jobs = [*JOBS[:7], entry("mortal"), *JOBS[7:12], entry("ghost")]
    expected = alone(jobs)
    drawn = Drawn(tmp_path, jobs, store=DyingFolders(tmp_path))
    assert (tmp_path / "died-before").exists()
    assert (tmp_path / "died-after").exists()
    assert pictures_in(tmp_path / "out") == expected
    assert (drawn.batch.tally.done, drawn.failed) == (14, [])
    assert drawn.batch.tally.existing >= 1  # found, and not drawn a second time
    begun = (tmp_path / "begun").read_text().split("\n")
    assert (begun.count("mortal"), begun.count("ghost")) == (2, 1)


def test_poison_is_tried_three_times_and_the_others_are_drawn(one_ray, tmp_path, capfd):
    drawn = Drawn(tmp_path, [*JOBS[:3], entry("poison"), entry("broken"), *JOBS[3:6]])
    assert {each.task.request.prompt: each.error.code for each in drawn.failed} == {
        "poison": "process-killed",
        "broken": "bug",
    }
    assert (tmp_path / "begun").read_text().split("\n").count("poison") == 3
    assert drawn.batch.tally.drawn == 6
    text = (tmp_path / "out" / "failed.txt").read_text()
    assert "3 workers died while they drew this picture" in text
    assert "it is broken" in text
    assert capfd.readouterr().out == ""  # what Ray says of deaths is no name of a picture


def test_a_worker_of_another_version_is_refused_by_name(one_ray, tmp_path):
    drawn = Drawn(tmp_path, JOBS[:6], painter=OneOldPainter)
    assert drawn.batch.tally.drawn == 6
    assert len(drawn.said) == 1
    assert "has diffusers 0.1 and not" in drawn.said[0]
    assert drawn.said[0].startswith(("worker 1 on ", "worker 2 on "))


@pytest.mark.parametrize(
    ("painter", "what"), [(OldPainter, "diffusers 0.1"), (UselessPainter, "cannot begin: .*no such library")]
)
def test_without_any_worker_the_batch_ends(one_ray, tmp_path, painter, what):
    with pytest.raises(PixartError, match=what) as raised:
        Drawn(tmp_path, JOBS[:3], painter=painter)
    assert raised.value.code == "fleet-mixed"
    assert not list((tmp_path / "out").glob("*.png"))


def test_leaving_keeps_what_was_drawn(one_ray, tmp_path):
    jobs = [entry(f"slow {n}", n) for n in range(30)]

    def pause(events):
        if events:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Drawn(tmp_path, jobs, pause=pause)
    there = list((tmp_path / "out").glob("*.png"))
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    assert 1 <= len(there) == len(lines) < 30


CHILD = """
import sys
from pathlib import Path
from pixart_cli.cli.app import run
from tests.features.batch.mortal import Renderers
sys.exit(run(sys.argv[1:], renderers=Renderers(Path.cwd())))
"""


def is_agent(process: psutil.Process) -> bool:
    """Whether it is one of Ray's two small agents, which look for their parent for a minute and then go."""
    try:
        return "Agent" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def end(processes) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_killed_driver_leaves_no_process_and_loses_nothing(one_ray, tmp_path, alone):
    jobs = [entry(f"slow {n}", n) for n in range(12)]
    (tmp_path / "list.txt").write_text("".join(f"{job.prompt}\n" for job in jobs))
    words = ["batch", "list.txt", "-o", "out/", "-r", "64x48", "--engine", "ray", "--workers", "1"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    driver = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words], cwd=tmp_path, env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert driver.stdout.readline().startswith(b"out/slow-")
        own = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.kill()
        driver.communicate()
    assert own
    _, left = psutil.wait_procs([each for each in own if not is_agent(each)], timeout=30)
    end([each for each in own if is_agent(each)])
    assert left == []
    drawn = Drawn(tmp_path, jobs)
    assert drawn.batch.tally.existing >= 1
    assert drawn.batch.tally.done == 12
    assert pictures_in(tmp_path / "out") == alone(jobs)
