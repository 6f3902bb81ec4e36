"""Which workers a fleet keeps: those that draw as this machine does, and come back after a death."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import replace
from itertools import count, takewhile

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.cluster import Size
from pixart_cli.features.batch.fleet import Fleet, Worker, rest_after
from pixart_cli.features.batch.leases import Lease
from tests.features.batch.conftest import entry, tasks_of
from tests.features.batch.mortal import (
    PATIENT,
    TWO,
    DrawnOnRay,
    OldPainter,
    OneBarePainter,
    OneCoarsePainter,
    OneOldPainter,
    Swift,
    UselessPainter,
    orders_of,
)

JOBS = [entry(f"sun {n}", n) for n in range(6)]


@pytest.fixture
def drawn(one_ray, tmp_path):
    """What is said of a fleet, one of which is `painter`, until something is said."""

    def draw(painter, wish=TWO):
        said = []
        jobs = (entry(f"sun {n}", n) for n in takewhile(lambda _: not said, count()))
        drawn = DrawnOnRay(tmp_path, jobs, painter=painter, wish=wish, said=said)
        assert drawn.failed == []
        (told,) = said
        assert told.startswith(("worker 1 on ", "worker 2 on "))
        return told

    return draw


def test_a_worker_of_another_version_is_refused_by_name(drawn):
    told = drawn(OneOldPainter)
    assert "has diffusers 0.1 and not" in told
    assert told.endswith("going on without it")


def test_a_worker_without_weights_is_given_up_and_its_pictures_are_drawn(drawn):
    assert drawn(OneBarePainter).endswith(": no weights here; going on without it")


def test_a_worker_of_another_precision_is_kept_where_that_is_allowed(drawn):
    told = drawn(OneCoarsePainter, replace(TWO, allow_mixed=True))
    assert {"in bfloat16 on cpu", "in float32 on cpu"} <= set(re.findall(r"in \w+ on cpu", told))
    assert told.endswith("what it draws may differ")


@pytest.mark.parametrize(
    ("painter", "what"), [(OldPainter, "diffusers 0.1"), (UselessPainter, "cannot begin: .*no such library")]
)
def test_without_any_worker_the_batch_ends(one_ray, tmp_path, painter, what):
    with pytest.raises(PixartError, match=what) as raised:
        DrawnOnRay(tmp_path, JOBS[:3], painter=painter)
    assert raised.value.code == "fleet-mixed"
    assert not list((tmp_path / "out").glob("*.png"))


def until_up(fleet: Fleet, worker: Worker) -> None:
    while not worker.is_up:
        fleet.wait(0.5)


def hear_out(fleet: Fleet, worker: Worker) -> None:
    while worker.leases:
        fleet.wait(0.5)
        list(fleet.replies(worker))


def reborn(worker: Worker) -> None:
    """Wait until the worker's successor lives, without anybody telling the fleet."""
    import ray

    while True:
        with contextlib.suppress(ray.exceptions.RayActorError):
            said = ray.get(worker.actor.ready.options(concurrency_group="control").remote())
            if said.life != worker.life:
                return
        time.sleep(0.1)


def test_what_a_dead_worker_was_lent_is_not_drawn_by_its_successor(one_ray, tmp_path, resolver):
    import ray

    fleet = Fleet(ray, Size(workers=1, cpus=1, gpus=0), orders_of(tmp_path), print, Swift, patience=PATIENT)
    (worker,) = fleet.workers
    mortal, sun, moon = (Lease([task]) for task in tasks_of(resolver, *map(entry, ("mortal", "sun", "moon"))))
    until_up(fleet, worker)
    worker.lend(mortal)
    reborn(worker)
    worker.lend(sun)  # the death is not heard of yet; who hears of it lends this to another
    with pytest.raises(ray.exceptions.RayActorError):
        hear_out(fleet, worker)
    fleet.rest(worker, "it died")
    until_up(fleet, worker)
    worker.lend(moon)
    hear_out(fleet, worker)
    fleet.close()
    assert (tmp_path / "begun").read_text().split() == ["mortal", "moon"]


class Silent:
    """Stands for the module, where nothing answers."""

    def __init__(self):
        self.killed = []

    def kill(self, actor, *, no_restart):
        self.killed.append(actor)


def bare_fleet(*workers: Worker) -> Fleet:
    fleet = Fleet.__new__(Fleet)
    fleet.workers, fleet.lost = list(workers), None
    return fleet


def test_who_has_not_begun_after_a_while_is_told_of_once():
    up, waiting, said = Worker("actor", "worker 1"), Worker("actor", "worker 2"), []
    up.is_up, waiting.hello = True, "asked"
    fleet = bare_fleet(up, waiting)
    fleet._say, fleet._complains_at = said.append, 0.0
    fleet._wake()
    fleet._wake()
    assert said == ["1 of 2 workers have not begun yet, and join when they find room"]


def test_rests_grow_and_who_never_comes_back_is_given_up():
    worker, said = Worker("actor", "worker 1 on host"), []
    fleet = bare_fleet(worker)
    fleet._ray, fleet._say = Silent(), said.append
    for _ in range(6):
        assert fleet.workers
        fleet.rest(worker, "it died\nof something")
    assert [rest_after(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert said == ["worker 1 on host does not come back: it died; going on without it"]
    assert (fleet.lost.code, fleet._ray.killed) == ("process-lost", ["actor"])
