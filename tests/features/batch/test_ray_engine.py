"""A batch on a real Ray: the same bytes as one process gives, whatever dies on the way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pixart_cli.features.batch.cluster import Wish
from pixart_cli.features.batch.fleet import Fleet, Patience, Worker
from pixart_cli.features.batch.leases import Leases
from pixart_cli.features.batch.painter import Painter
from pixart_cli.features.batch.ray_engine import _Run
from tests.features.batch.conftest import OF_RAY, Runs, entry, tasks_of
from tests.features.batch.mortal import PATIENT, DrawnOnRay, DyingFolders, LosingPainter, Reborn, orders_of

ray = pytest.importorskip("ray", reason="Ray is not installed (pixart-cli[ray])")
ROOT = Path(__file__).resolve().parents[3]


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
    drawn = DrawnOnRay(tmp_path, JOBS, painter=Painter)
    assert bytes_in(tmp_path / "out") == expected
    assert (len(expected), drawn.batch.tally.drawn, drawn.said) == (20, 20, [])
    assert sorted((tmp_path / "begun").read_text().split("\n")[:-1]) == sorted(job.prompt for job in JOBS)
    again = DrawnOnRay(tmp_path, JOBS)
    assert (again.batch.tally.drawn, again.batch.tally.existing) == (0, 20)


def test_workers_that_die_before_and_after_publishing_lose_nothing(one_ray, tmp_path, alone):
    jobs = [*JOBS[:7], entry("mortal"), *JOBS[7:12], entry("ghost")]
    expected = alone(jobs)
    drawn = DrawnOnRay(tmp_path, jobs, store=DyingFolders(tmp_path))
    assert (tmp_path / "died-before").exists()
    assert (tmp_path / "died-after").exists()
    assert pictures_in(tmp_path / "out") == expected
    assert (drawn.batch.tally.drawn, drawn.failed) == (14, [])
    begun = (tmp_path / "begun").read_text().split("\n")
    assert (begun.count("mortal"), begun.count("ghost")) == (2, 1)


def test_poison_is_tried_three_times_and_the_others_are_drawn(one_ray, tmp_path, capfd):
    drawn = DrawnOnRay(tmp_path, [*JOBS[:3], entry("poison"), *JOBS[3:6]])
    assert [(each.task.request.prompt, each.error.code) for each in drawn.failed] == [
        ("poison", "process-killed")
    ]
    assert (tmp_path / "begun").read_text().split("\n").count("poison") == 3
    assert drawn.batch.tally.done == 7
    text = (tmp_path / "out" / "failed.txt").read_text()
    assert "3 workers died while they drew this picture" in text
    assert capfd.readouterr().out == ""  # what Ray says of deaths is no name of a picture


def test_a_worker_that_died_unnoticed_is_met_again_and_a_failure_is_told(one_ray, tmp_path):
    drawn = DrawnOnRay(tmp_path, [*JOBS[:6], entry("broken")], painter=Reborn)
    assert (tmp_path / "reborn").exists()
    assert [(each.task.request.prompt, each.error.code) for each in drawn.failed] == [("broken", "bug")]
    assert drawn.batch.tally.drawn == 6
    assert "it is broken" in (tmp_path / "out" / "failed.txt").read_text()


def test_a_worker_that_lost_its_gpu_leaves_and_its_picture_is_drawn(one_ray, tmp_path):
    drawn = DrawnOnRay(tmp_path, [*JOBS[:3], entry("fickle")], painter=LosingPainter)
    assert (tmp_path / "lost").exists()
    assert (drawn.batch.tally.drawn, drawn.failed) == (4, [])


def test_what_a_worker_is_stuck_at_is_drawn_by_another_and_counted_once(one_ray, tmp_path, alone):
    jobs = [*JOBS[:12], entry("tar"), *JOBS[12:16]]
    expected = alone(jobs)
    drawn = DrawnOnRay(tmp_path, jobs, patience=replace(PATIENT, late=0.5))
    assert bytes_in(tmp_path / "out") == expected
    assert (drawn.batch.tally.drawn, drawn.batch.tally.existing, drawn.failed) == (17, 0, [])
    assert (tmp_path / "begun").read_text().split("\n").count("tar") == 2
    assert len((tmp_path / "out" / "records.jsonl").read_text().splitlines()) == 17
    told = {said.partition(" takes ")[2] for said in drawn.said}
    assert told == {"far longer than usual: what it has is drawn by others as well"}


def test_while_all_have_something_to_do_nobody_helps(tmp_path, resolver):
    tasks, said = list(tasks_of(resolver, *JOBS[:8])), []
    fleet, leases = Fleet.__new__(Fleet), Leases(iter(tasks[:2]), workers=1)
    late, busy = Worker("actor", "worker 1"), Worker("actor", "worker 2")
    for worker in (late, busy):
        worker.is_up = True
        worker.leases.append((leases.take(), "stream"))
    fleet.workers = [late, busy]
    run = _Run(None, fleet, leases, None, orders_of(tmp_path), said.append, Patience(late=0.0))
    for task in tasks:
        run._paces.add(task, 1e-9)
    assert run._is_late(late)
    assert (list(run._help()), said) == ([], [])
    busy.leases.clear()
    lent = []
    busy.lend = lent.append
    assert list(run._help()) == []
    assert [lease.tasks for lease in lent] == [tasks[:1]]
    assert len(said) == 1


def test_a_machine_that_joins_gets_a_worker(one_ray, tmp_path, monkeypatch):
    for name, value in OF_RAY.items():
        monkeypatch.setenv(name, value)
    processes, joined = (lambda: len(list(tmp_path.glob("process-*")))), []

    def jobs():
        for number in range(100_000):
            if processes() > 1:
                return
            yield entry(f"sun {number}", number)

    def pause(events):
        if events and not joined:
            joined.append(one_ray.add_node(num_cpus=1, object_store_memory=100_000_000))

    drawn = DrawnOnRay(tmp_path, jobs(), pause=pause, wish=Wish(), patience=replace(PATIENT, rescan=0.5))
    one_ray.remove_node(joined[0])
    assert processes() == 2
    assert drawn.said == ["the cluster has grown: a worker is added, of 2"]


def test_leaving_keeps_what_was_drawn(one_ray, tmp_path):
    jobs = [entry(f"slow {n}", n) for n in range(30)]

    def pause(events):
        if events:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DrawnOnRay(tmp_path, jobs, pause=pause)
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
    environ = os.environ | OF_RAY
    del environ["RAY_worker_niceness"]
    driver = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words], cwd=tmp_path, env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert driver.stdout.readline().startswith(b"out/slow-")
        own = psutil.Process(driver.pid).children(recursive=True)
        assert {each.nice() for each in own} == {psutil.Process(driver.pid).nice()}
    finally:
        driver.kill()
        driver.communicate()
    assert own
    _, left = psutil.wait_procs([each for each in own if not is_agent(each)], timeout=300)
    end([each for each in own if is_agent(each)])
    assert left == []
    drawn = DrawnOnRay(tmp_path, jobs)
    assert drawn.batch.tally.existing >= 1
    assert drawn.batch.tally.done == 12
    assert pictures_in(tmp_path / "out") == alone(jobs)
