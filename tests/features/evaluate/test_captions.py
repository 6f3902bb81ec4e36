"""Scores: intervals, questions and sheets."""

import pytest
from PIL import Image

from pixart_cli.features.train.measure import Score, contact_sheet, held_out_questions, table
from pixart_cli.diffusion.posters.scene import is_held_out


def test_wilson_interval() -> None:
    low, high = Score(9, 10).interval
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-3)
    assert Score(0, 5).interval[0] == 0.0
    assert Score(5, 5).interval[1] == 1.0


def test_questions_are_held_out_and_repeatable() -> None:
    questions = held_out_questions(30, seed=4)
    assert questions == held_out_questions(30, seed=4)
    assert all(is_held_out(q.scene) for q in questions)
    assert len({q.caption.text for q in questions}) > 25


def test_the_table_has_a_line_for_each_attribute() -> None:
    scores = {"all": Score(3, 4), "sky.colour": Score(1, 2)}
    lines = table(scores, scores, scores)
    assert len(lines) == 4
    assert lines[2].startswith("| all | 4 | 75% (")


def test_the_sheet_holds_every_picture() -> None:
    inks = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (40, 20), ink) for ink in inks], columns=2, cell=20)
    assert sheet.size == (58, 58)
    assert {sheet.getpixel((16, 16)), sheet.getpixel((42, 16)), sheet.getpixel((16, 42))} == set(inks)
