"""The engine of this machine: one load, prompts together, and the right picture blamed."""

import weakref

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch import local
from pixart_cli.features.batch.engine import Failed, Published
from pixart_cli.features.batch.local import LocalEngine
from tests.conftest import StandIn
from tests.features.batch.conftest import Moody, engine_of, entry, failing, tasks_of


class Weights:
    """Something that is seen to be gone."""


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


def test_networks_of_a_failure_are_gone_before_the_next_are_loaded(resolver):
    """The failure is kept for its record, and must not keep what failed."""
    alive, kept = [], []

    class Broken(StandIn):
        def render(self, requests, *, on_progress):
            weights = Weights()
            alive.append(weakref.ref(weights))
            raise ZeroDivisionError(f"{len(requests)} pictures, {weights}")
            yield

    def renderer_of(*_):
        assert [each() for each in alive] == [None] * len(alive)
        return Broken()

    kept += engine_of(renderer_of).run(tasks_of(resolver, entry("sun"), entry("moon")))
    assert [each.error.code for each in kept] == ["bug", "bug"]
    assert len(alive) > 1
    assert kept[0].error.__cause__.__traceback__ is not None


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
