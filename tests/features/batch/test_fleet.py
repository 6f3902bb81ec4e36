"""Which workers a fleet keeps: those that draw as this machine does, and come back after a death."""

from __future__ import annotations

import time

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.fleet import Worker
from tests.features.batch.conftest import entry
from tests.features.batch.mortal import DrawnOnRay, OldPainter, OneOldPainter, UselessPainter

JOBS = [entry(f"sun {n}", n) for n in range(6)]
ON_RAY = pytest.mark.xdist_group("ray")


@ON_RAY
def test_a_worker_of_another_version_is_refused_by_name(one_ray, tmp_path):
    drawn = DrawnOnRay(tmp_path, JOBS, painter=OneOldPainter)
    assert drawn.batch.tally.drawn == 6
    assert len(drawn.said) == 1
    assert "has diffusers 0.1 and not" in drawn.said[0]
    assert drawn.said[0].startswith(("worker 1 on ", "worker 2 on "))


@ON_RAY
@pytest.mark.parametrize(
    ("painter", "what"), [(OldPainter, "diffusers 0.1"), (UselessPainter, "cannot begin: .*no such library")]
)
def test_without_any_worker_the_batch_ends(one_ray, tmp_path, painter, what):
    with pytest.raises(PixartError, match=what) as raised:
        DrawnOnRay(tmp_path, JOBS[:3], painter=painter)
    assert raised.value.code == "fleet-mixed"
    assert not list((tmp_path / "out").glob("*.png"))


class Silent:
    """Stands for the module, where nothing answers."""

    def __init__(self):
        self.killed = []

    def kill(self, actor, *, no_restart):
        self.killed.append(actor)


def test_rests_grow_and_who_never_comes_back_is_given_up():
    from pixart_cli.features.batch.fleet import Fleet

    fleet, said, rests = Fleet.__new__(Fleet), [], []
    fleet._ray, fleet._say, fleet.lost = Silent(), said.append, None
    worker = Worker("actor", "worker 1 on host")
    fleet.workers = [worker]
    while fleet.workers:
        fleet.rest(worker, "it died\nof something")
        rests.append(round(worker.rests_until - time.monotonic()))
    assert rests[:5] == [1, 2, 4, 8, 16]
    assert said == ["worker 1 on host does not come back: it died; going on without it"]
    assert (fleet.lost.code, fleet._ray.killed) == ("process-lost", ["actor"])
