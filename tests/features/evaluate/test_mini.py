"""The suite mini: six kinds in turn, held out, answered by its own pictures and not by others."""

import pytest

from pixart_cli.diffusion.posters.caption import all_words
from pixart_cli.diffusion.posters.scene import is_held_out
from pixart_cli.features.evaluate.mini import KINDS, Mini, unsaid_inks_open
from pixart_cli.features.evaluate.run import ceiling_marks, floor_marks
from pixart_cli.features.evaluate.score import tally

pytestmark = pytest.mark.exemplars


@pytest.fixture(scope="module")
def questions():
    return Mini().questions(120, 3)


def test_questions_are_a_function_of_number_and_seed(questions) -> None:
    assert Mini().questions(13, 3) == questions[:13]
    assert [q.prompt for q in Mini().questions(13, 4)] != [q.prompt for q in questions[:13]]


def test_the_first_questions_are_these_for_as_long_as_the_definition_is() -> None:
    assert [question.prompt for question in Mini().questions(4, 1)] == [
        "a triangle on a gray background",
        "a moon over a green forest under a teal sky with a house",
        "a cream sea under a navy sky with three white clouds",
        "a red sun over orange dunes under a black sky",
    ]
    assert Mini().definition == "mini-5"


def test_kinds_take_turns_and_every_question_is_held_out_and_new(questions) -> None:
    assert [question.kind for question in questions[:7]] == [*KINDS, KINDS[0]]
    assert all(is_held_out(question.wanted.scene) for question in questions)
    assert len({question.prompt for question in questions}) == len(questions)


def test_only_words_the_model_was_taught(questions) -> None:
    taught = set(all_words())
    assert {word for question in questions for word in question.prompt.split()} <= taught


def test_inks_that_were_not_said_do_not_count(questions) -> None:
    counting, binding = questions[2].wanted, questions[5].wanted
    inks = {str(unsaid_inks_open(poster).__dict__).count("colour=''") for poster in (counting, binding)}
    assert inks == {0, 1}


def test_right_pictures_are_right_and_those_of_other_questions_wrong(questions) -> None:
    suite, some = Mini(), questions[:36]
    ceiling, floor = tally(ceiling_marks(suite, some)), tally(floor_marks(suite, some))
    assert list(ceiling) == ["all", *KINDS]
    assert ceiling["all"].rate > 0.9
    assert floor["all"].rate < 0.4
