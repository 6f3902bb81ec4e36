"""Writing beside the drawing: on other threads, not too far behind, and honest about the disk."""

import threading
import types
from dataclasses import replace

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch import store, writers
from pixart_cli.features.batch.engine import Failed
from pixart_cli.features.batch.publishing import Kept, places
from pixart_cli.features.batch.writers import Overwriting, as_error
from tests.conftest import StandIn
from tests.features.batch.conftest import engine_of, entry, tasks_of


def test_encoding_and_writing_are_done_beside_the_drawing(resolver, monkeypatch):
    threads = []
    png_of = writers.png_of
    monkeypatch.setattr(
        writers, "png_of", lambda *args: threads.append(threading.current_thread()) or png_of(*args)
    )
    list(engine_of(lambda *_: StandIn()).run(tasks_of(resolver, entry("a"), entry("b"))))
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_no_more_pictures_wait_than_memory_is_good_for(resolver, monkeypatch):
    monkeypatch.setattr(writers, "_WAITING", 2)
    gate, waiting = threading.Event(), []
    publish = writers._publish

    def slow(*args):
        waiting.append(args)
        gate.wait(30)
        return publish(*args)

    monkeypatch.setattr(writers, "_publish", slow)
    stand_in = StandIn()
    outcomes = engine_of(lambda *_: stand_in).run(tasks_of(resolver, *(entry(f"sun {n}") for n in range(9))))
    threading.Timer(0.5, gate.set).start()
    next(outcomes)
    assert len(stand_in.drawn) == 3
    assert len(list(outcomes)) == 8


def test_a_full_disk_ends_it_and_is_no_failure_of_a_picture(resolver, monkeypatch):
    def full(*args, **kwargs):
        raise PixartError("disk", "cannot write: no space left on device")

    monkeypatch.setattr(store, "publish_picture", full)
    outcomes = []
    tasks = tasks_of(resolver, *(entry(str(n)) for n in range(50)))
    with pytest.raises(PixartError, match="no space left"):
        outcomes.extend(engine_of(lambda *_: StandIn()).run(tasks))
    assert not any(isinstance(each, Failed) for each in outcomes)


def test_any_exception_has_a_code():
    assert as_error(MemoryError()).code == "out-of-memory"
    assert as_error(KeyError("x")).code == "bug"
    error = PixartError("disk", "x")
    assert as_error(error) is error


def test_with_force_no_two_pictures_get_one_place(resolver):
    """The older picture's place is wanted by another prompt now, and it is still being written."""
    paths = places(resolver.folder / "sun.png", "a" * 64)
    old, new = (
        replace(task, paths=paths, fingerprint=letter * 64)
        for task, letter in zip(tasks_of(resolver, entry("sun"), entry("moon")), "ab", strict=True)
    )
    overwriting = Overwriting()
    first = overwriting.place(new)
    there = replace(old, store=types.SimpleNamespace(find=lambda *_args, **_named: Kept(paths[0])))
    assert first == paths[0]
    assert overwriting.place(there) == paths[1]
