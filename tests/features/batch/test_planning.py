"""How a machine draws: the same for every engine, and worked out once."""

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch import planning
from pixart_cli.features.batch.planning import Planner
from tests.features.batch.conftest import entry, tasks_of


def planner(**other):
    return Planner(**({"device": "cpu", "memory": "auto", "compiled": False} | other))


def test_the_machine_is_looked_at_once_and_not_before_it_matters(resolver, monkeypatch):
    looks, probe = [], planning.probe
    monkeypatch.setattr(planning, "probe", lambda: looks.append(1) or probe())
    own = planner(compiled=True)
    assert looks == []
    plans = {own.plan_of(task.request).compiled for task in tasks_of(resolver, entry("sun"), entry("moon"))}
    assert (looks, plans, own.arithmetic_of("mini")) == ([1], {True}, ("cpu", "float32"))


def test_a_small_model_of_ones_own_is_computed_in_full_precision(toy_folder):
    assert planner().arithmetic_of(str(toy_folder)) == ("cpu", "float32")


def test_what_is_not_here_is_named():
    with pytest.raises(PixartError) as raised:
        planner().arithmetic_of("no-such-model")
    assert raised.value.code in ("model-unknown", "model-missing")
