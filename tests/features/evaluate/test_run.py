"""An evaluation: what is drawn, kept and counted."""

import pytest

from pixart_cli.features.evaluate.mini import Mini
from pixart_cli.features.evaluate.run import answers, plan_evaluation, table_of
from tests.conftest import StandIn
from tests.toy_model import build_toy_model

pytestmark = pytest.mark.exemplars


def ask(stand_in, folder, count=3, seed=1):
    plan = plan_evaluation(Mini(), "mini", count=count, seed=seed, device="cpu")
    return plan, list(answers(plan, lambda: stand_in, folder, on_progress=lambda _event: None))


def test_what_was_drawn_is_kept_and_only_the_rest_drawn(tmp_path) -> None:
    first = StandIn(fail_at=2)
    with pytest.raises(RuntimeError):
        ask(first, tmp_path / "run")
    again = StandIn()
    plan, given = ask(again, tmp_path / "run")
    assert again.drawn == [plan.requests[2]]
    assert [answer.kept for answer in given] == [True, True, False]
    (tmp_path / "run/00001/samples/0000.png").write_bytes(b"damaged")
    mended = StandIn()
    assert [a.kept for a in ask(mended, tmp_path / "run", count=4)[1]].count(True) == 2
    assert [request.prompt for request in mended.drawn] == [
        ask(StandIn(), None, count=4)[0].questions[i].prompt for i in (1, 3)
    ]


def test_a_model_in_a_folder_is_gone_on_with_though_pictures_do_not_say_where_it_lies(tmp_path) -> None:
    model = str(build_toy_model(tmp_path / "model"))
    for kept in (False, True):
        plan = plan_evaluation(Mini(), model, count=1, seed=1, device="cpu")
        (answer,) = answers(plan, StandIn, tmp_path / "run", on_progress=lambda _event: None)
        assert answer.kept == kept


def test_the_table_has_a_ceiling_and_a_floor() -> None:
    plan, given = ask(StandIn(), None, count=6)
    rows = table_of(plan.suite, given)
    assert [row.name for row in rows] == ["all", *plan.suite.rows]
    assert rows[0].ceiling.found > rows[0].score.found
    assert rows[0].floor is None  # one question of a kind has no other
