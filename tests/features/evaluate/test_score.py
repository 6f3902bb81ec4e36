"""Shares: intervals, tallies and the table."""

import pytest

from pixart_cli.features.evaluate.score import Row, Score, markdown, rows_of, tally


def test_wilson_interval() -> None:
    assert Score(9, 10).interval == pytest.approx((0.5958, 0.9821), abs=1e-3)
    assert Score(0, 5).interval[0] == 0.0
    assert Score(5, 5).interval[1] == 1.0


def test_a_tally_counts_each_row_and_all() -> None:
    scores = tally([[("b", True)], [("a", False), ("b", False)]])
    assert {name: (score.found, score.asked) for name, score in scores.items()} == {
        "all": (1, 3), "b": (1, 2), "a": (0, 1)
    }  # fmt: skip
    assert tally([]) == {}


def test_things_found_or_missed_together_tell_less() -> None:
    """Four things a picture, all or none of them: as uncertain as one thing a picture."""
    together = tally([[("a", seen)] * 4 for seen in (True, False) * 20])["a"]
    alone = tally([[("a", seen)] for seen in (True, False) * 20])["a"]
    assert (together.rate, together.asked, alone.asked) == (0.5, 160, 40)
    assert together.interval == pytest.approx(alone.interval, abs=1e-3)
    apart = tally([[("a", True), ("a", False)] for _ in range(20)])["a"]
    assert apart == Score(20, 40)  # never narrower than each on its own


def test_rows_come_in_the_order_of_the_suite_then_by_name() -> None:
    scores = tally([[("z", True), ("a", True), ("m", True)]])
    assert [row.name for row in rows_of(scores, {}, {}, ["m"])] == ["all", "m", "a", "z"]


def test_the_table_has_a_line_for_each_row_and_no_number_where_none_is() -> None:
    lines = markdown([Row("all", Score(3, 4), Score(4, 4), Score(1, 4)), Row("a", Score(1, 2))], "kind")
    assert lines[2:] == [
        "| all | 4 | 75% (30% to 95%) | 100% | 25% |",
        "| a | 2 | 50% (9% to 91%) | – | – |",
    ]
    assert Row("a", Score(1, 2)).to_dict()["ceiling"] is None
