"""What a worker does with a lease, without the cluster around it."""

import pickle

import pytest

from pixart_cli import __version__
from pixart_cli.diffusion import quantisation
from pixart_cli.features.batch import painter
from pixart_cli.features.batch.painter import Orders, Painter, versions
from pixart_cli.features.batch.resolve import Resolver
from tests.conftest import StandIn
from tests.features.batch.conftest import SMALL, Moody, entry, failing, tasks_of

ENTRIES = [entry(f"sun {n}", n) for n in range(4)]


def painter_of(renderer, **orders):
    values = {"device": "cpu", "memory": "auto", "cache_bytes": 0, "together": False}
    values |= {"force": False}
    return Painter(Orders(renderers=lambda model, plan: renderer, **(values | orders)))


def painted(worker, tasks):
    return worker.paint(tasks, worker.ready().life)


def test_a_reply_a_picture_and_no_pixels_in_any(resolver):
    tasks = list(tasks_of(resolver, *ENTRIES))
    replies = list(painted(painter_of(StandIn()), tasks))
    assert sorted(reply.place for reply in replies) == [0, 1, 2, 3]
    assert all(reply.path.exists() and reply.provenance["device"] == "cpu" for reply in replies)
    assert max(len(pickle.dumps(reply)) for reply in replies) < 1000


def test_a_task_travels_whole(resolver):
    tasks = list(tasks_of(resolver, *ENTRIES))
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_a_bad_picture_is_its_own_and_bad_weights_are_all(resolver):
    tasks = list(tasks_of(resolver, *ENTRIES[:2], entry("poison")))
    replies = list(painted(painter_of(Moody()), tasks))
    assert [(reply.place, reply.error[0]) for reply in replies if reply.error] == [(2, "bug")]
    worker = painter_of(Moody(failing("weights-invalid")))
    *_, last = painted(worker, list(tasks_of(resolver, entry("gall"))))
    assert (last.place, last.error) == (None, ("weights-invalid", "it failed", ""))


def test_a_worker_without_the_quantisers_library_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "LIBRARY", "torch")  # here one is installed
    one, all_of_them = SMALL | {"model": "sigma-256"}, SMALL | {"model": "sigma-256", "encoder_bits": 8}
    asked = entry("moon", 2, encoder_bits=4)
    of_one = list(tasks_of(Resolver(one, cwd=tmp_path), entry("sun"), asked))
    of_all = list(tasks_of(Resolver(all_of_them, cwd=tmp_path), entry("sun")))
    monkeypatch.setattr(quantisation, "LIBRARY", "no-such-library")  # and there it is not
    drawn, failed = sorted(painted(painter_of(StandIn()), of_one), key=lambda reply: reply.place)
    assert (drawn.error, failed.error[0]) == (None, "extra-missing")
    (reply,) = painted(painter_of(StandIn()), of_all)
    assert (reply.place, reply.error[0]) == (None, "extra-missing")


def test_one_load_serves_all_leases(resolver):
    loads = []
    worker = painter_of(StandIn())
    worker._engine._renderer_of = lambda *_: loads.append(1) or StandIn()
    for each in ENTRIES:
        list(painted(worker, list(tasks_of(resolver, each))))
    assert loads == [1]


def test_stopped_it_leaves_and_blames_nobody(resolver):
    worker = painter_of(Moody())
    replies = painted(worker, list(tasks_of(resolver, *ENTRIES)))
    worker.stop()
    assert [reply.error for reply in replies if reply.error] == []


def test_what_an_earlier_life_was_lent_is_not_drawn(resolver):
    renderer = StandIn()
    assert list(painter_of(renderer).paint(list(tasks_of(resolver, *ENTRIES)), "another")) == []
    assert renderer.drawn == []


def test_what_a_build_adds_is_no_other_version(monkeypatch):
    monkeypatch.setattr(painter, "version", lambda name: {"torch": "2.6.0+cu128"}.get(name, "0.42.0"))
    assert versions() == {"pixart": __version__, "torch": "2.6.0", "diffusers": "0.42.0"}


def test_a_worker_says_what_it_would_compute_with_and_nothing_of_what_it_lacks():
    said = painter_of(StandIn(), models=("mini", "no-such-model")).ready()
    assert said.arithmetic == {"mini": ("cpu", "float32")}


@pytest.mark.parametrize("lost", [False, True])
def test_a_device_that_is_lost_ends_the_process(monkeypatch, lost):
    import torch

    def synchronize():
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    ended = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(painter.os, "_exit", ended.append)
    painter_of(StandIn())._leave_if_device_is_lost()
    assert ended == ([1] if lost else [])
