"""The engine of this machine: one load, prompts together, and the right picture blamed."""

import threading

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.features.batch import local
from pixart_cli.features.batch.engine import Failed, Published
from pixart_cli.features.batch.local import LocalEngine, as_error
from tests.conftest import StandIn
from tests.features.batch.conftest import Moody, entry, failing

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


def test_one_model_is_loaded_once_and_all_prompts_are_embedded_together(resolver):
    moody, loads = Moody(), []
    engine = engine_of(lambda model, plan, files: loads.append(model) or moody)
    outcomes = list(engine.run(tasks_of(resolver, *(entry(f"sun {n}") for n in range(9)))))
    assert ([type(each) for each in outcomes], loads, moody.calls) == ([Published] * 9, ["mini"], [9])


def test_models_in_turns_are_loaded_once_a_chunk(resolver, toy_folder):
    loads = []
    entries = [entry(f"sun {n}", **({"model": str(toy_folder)} if n % 2 else {})) for n in range(8)]
    engine = engine_of(lambda model, plan, files: loads.append(model) or StandIn())
    assert len(list(engine.run(tasks_of(resolver, *entries)))) == 8
    assert loads == ["mini", str(toy_folder)]


def test_pictures_of_one_size_are_neighbours(resolver):
    stand_in = StandIn()
    entries = [entry(f"sun {n}", res="32x32" if n % 2 else "64x48") for n in range(6)]
    list(engine_of(lambda *_: stand_in).run(tasks_of(resolver, *entries)))
    assert [request.width for request in stand_in.drawn] == [64] * 3 + [32] * 3


def test_a_long_list_is_taken_in_chunks(resolver, monkeypatch):
    monkeypatch.setattr(local, "CHUNK", 3)
    taken, moody = [], Moody()

    def tasks():
        for n in range(60):
            taken.append(n)
            yield from resolver.tasks(entry(f"sun {n}"), n)

    outcomes = engine_of(lambda *_: moody).run(tasks())
    next(outcomes)
    assert len(taken) < 40  # some wait to be written
    assert len(list(outcomes)) == 59
    assert moody.calls == [3] * 20


def test_memory_that_ran_out_for_one_picture_is_there_for_the_next(resolver):
    made = []

    def renderers(model, plan, files):
        made.append(Moody(failing("out-of-memory")))
        return made[-1]

    outcomes = list(engine_of(renderers).run(tasks_of(resolver, entry("a"), entry("poison"), entry("b"))))
    assert sorted(type(each).__name__ for each in outcomes) == ["Failed", "Published", "Published"]
    assert len(made) == 2  # the plan was stepped down: the others begin anew


def test_encoding_and_writing_are_done_beside_the_drawing(resolver, monkeypatch):
    threads = []
    png_of = local.png_of
    monkeypatch.setattr(
        local, "png_of", lambda *args: threads.append(threading.current_thread()) or png_of(*args)
    )
    list(engine_of(lambda *_: StandIn()).run(tasks_of(resolver, entry("a"), entry("b"))))
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_no_more_pictures_wait_than_memory_is_good_for(resolver, monkeypatch):
    monkeypatch.setattr(local, "_WAITING", 2)
    gate, waiting = threading.Event(), []
    publish = local._publish

    def slow(*args):
        waiting.append(args)
        gate.wait(30)
        return publish(*args)

    monkeypatch.setattr(local, "_publish", slow)
    stand_in = StandIn()
    outcomes = engine_of(lambda *_: stand_in).run(tasks_of(resolver, *(entry(f"sun {n}") for n in range(9))))
    threading.Timer(0.5, gate.set).start()
    next(outcomes)
    assert len(stand_in.drawn) == 3
    assert len(list(outcomes)) == 8


def test_leaving_keeps_what_was_drawn(resolver):
    calls = []

    def pause():
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt

    outcomes = []
    tasks = tasks_of(resolver, *(entry(f"sun {n}") for n in range(9)))
    with pytest.raises(KeyboardInterrupt):
        outcomes.extend(engine_of(lambda *_: Moody(), pause=pause).run(tasks))
    assert outcomes
    assert all(isinstance(each, Published) and each.path.exists() for each in outcomes)


def test_a_full_disk_ends_it_and_is_no_failure_of_a_picture(resolver, monkeypatch):
    def full(*args, **kwargs):
        raise PixartError("disk", "cannot write: no space left on device")

    monkeypatch.setattr(local, "publish_picture", full)
    outcomes = []
    tasks = tasks_of(resolver, *(entry(str(n)) for n in range(50)))
    with pytest.raises(PixartError, match="no space left"):
        outcomes.extend(engine_of(lambda *_: StandIn()).run(tasks))
    assert not any(isinstance(each, Failed) for each in outcomes)


def test_a_picture_too_large_for_the_machine_is_its_own_failure(resolver):
    entries = [entry("a"), entry("b", res="9000x3000"), entry("c")]
    outcomes = list(engine_of(lambda *_: StandIn()).run(tasks_of(resolver, *entries)))
    failed = [each for each in outcomes if isinstance(each, Failed)]
    assert [each.error.code for each in failed] == ["size-invalid"]
    assert len(outcomes) == 3


def test_a_device_that_is_not_there_is_nobodys_own(resolver):
    def absent(task):
        raise PixartError("device-unavailable", "no cuda")

    engine = LocalEngine(
        lambda *_: StandIn(), absent, force=False, on_progress=lambda event: None, pause=lambda: None
    )
    with pytest.raises(PixartError, match="no cuda"):
        list(engine.run(tasks_of(resolver, entry("a"))))


def test_any_exception_has_a_code():
    assert as_error(MemoryError()).code == "out-of-memory"
    assert as_error(KeyError("x")).code == "bug"
    error = PixartError("disk", "x")
    assert as_error(error) is error
