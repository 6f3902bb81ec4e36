"""The protocol: what every suite keeps to."""

import json

import pytest

from pixart_cli.features.evaluate.suites import SUITES


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suite_numbers_its_questions_describes_them_and_draws_right_pictures(suite) -> None:
    questions = suite.questions(3, 5)
    assert [question.number for question in questions] == [0, 1, 2]
    assert json.loads(json.dumps(suite.describe(questions[0])))["asked"]
    assert suite.reference(questions[0], (64, 48)).size == (64, 48)
    assert suite.definition.startswith(suite.name)
