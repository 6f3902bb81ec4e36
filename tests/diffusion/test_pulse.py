"""Who is heard, and who is missed."""

import time

import pytest
from torch.distributed import HashStore

from pixart_cli.diffusion.pulse import Pulse


@pytest.fixture
def three():
    """Three processes that have 0.2 s to be heard again."""
    store = HashStore()
    return [Pulse(rank, 3, store, silence=0.2) for rank in range(3)]


def look(pulse):
    """What it says now; it looks no more often than its patience lasts."""
    time.sleep(0.21)
    return pulse.silent()


def test_who_has_never_been_heard_is_not_missed(three):
    assert [look(three[0]) for _ in range(3)] == [None] * 3


def test_who_is_heard_no_more_is_missed_and_who_beats_is_not(three):
    found = []
    three[2].beat(1)
    for count in range(3):
        three[1].beat(count)
        found.append(look(three[0]))
    assert found == [None, 2, 2]
    three[2].beat(2)
    three[1].beat(9)
    assert look(three[0]) is None


def test_a_started_pulse_is_heard(three):
    three[1].start()
    three[0]._store.wait(["pulse/1"])
    assert look(three[0]) is None
    assert three[0]._heard.keys() == {1}
