"""The suite of captions: held out, repeatable, and every attribute a mark."""

import pytest

from pixart_cli.diffusion.posters.scene import Shapes, is_held_out
from pixart_cli.features.evaluate.captions import Captions

pytestmark = pytest.mark.exemplars


def test_questions_are_held_out_and_repeatable() -> None:
    questions = Captions().questions(30, seed=4)
    assert questions == Captions().questions(30, seed=4)
    assert questions[:7] == Captions().questions(7, seed=4)
    assert all(is_held_out(q.wanted.scene) for q in questions)
    assert len({q.prompt for q in questions}) > 25


def test_every_attribute_that_was_said_is_a_mark() -> None:
    suite = Captions()
    question = next(q for q in suite.questions(30, seed=4) if isinstance(q.wanted.scene, Shapes))
    marks = suite.judge(question, suite.reference(question, question.size))
    assert sorted(name for name, _ in marks) == sorted(
        name.replace("shape0", "shape").replace("shape1", "shape") for name in question.wanted.asked
    )
    assert suite.describe(question) == {"asked": sorted(question.wanted.asked)}
