"""Who is late: by the usual time of pictures of the same size, and nobody before anything is usual."""

import pytest

from pixart_cli.features.batch.paces import LEAST, TIMES, Paces
from tests.features.batch.conftest import entry, tasks_of


@pytest.fixture
def tasks(resolver):
    return list(tasks_of(resolver, entry("sun"), entry("moon"), entry("star", res="640x480")))


def paces(task, *seconds, floor=0.0):
    made = Paces(floor)
    for each in seconds:
        made.add(task, each)
    return made


def test_before_a_few_were_drawn_nobody_is_late(tasks):
    sun, moon, _ = tasks
    assert paces(sun, *[2.0] * (LEAST - 1)).limit([moon]) is None
    assert paces(sun, *[2.0] * LEAST).limit([moon]) == TIMES * 2.0


def test_a_lease_may_take_as_long_as_all_its_pictures(tasks):
    sun, moon, _ = tasks
    assert paces(sun, *[2.0] * LEAST).limit([sun, moon]) == TIMES * 4.0


def test_other_sizes_say_nothing(tasks):
    sun, moon, star = tasks
    assert paces(sun, *[2.0] * LEAST).limit([moon, star]) is None


def test_one_picture_that_took_for_ever_changes_little(tasks):
    sun, moon, _ = tasks
    assert paces(sun, *[2.0] * LEAST, 9000.0).limit([moon]) == TIMES * 2.0


def test_quick_pictures_make_nobody_late_at_once(tasks):
    sun, moon, _ = tasks
    assert paces(sun, *[0.001] * LEAST, floor=30.0).limit([moon]) == 30.0
