"""What is lent to workers: a few at a time, all of it, and a poisonous picture three times."""

from collections import Counter

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.leases import LARGEST, WINDOW, Leases
from tests.features.batch.conftest import entry, tasks_of


@pytest.fixture
def tasks(resolver):
    return list(tasks_of(resolver, *(entry(f"sun {n}") for n in range(40))))


def test_a_list_is_read_only_a_window_ahead(tasks):
    read = []

    def endless():
        while True:
            read.append(1)
            yield tasks[0]

    leases = Leases(endless(), workers=2)
    for _ in range(1000):
        lease = leases.take()
        for place in range(len(lease.tasks)):
            leases.settle(lease, place)
    ahead = len(read) - 1000 * LARGEST
    assert 0 <= ahead <= 2 * WINDOW * LARGEST
    assert not leases._deaths


def test_everything_is_lent_once_and_the_last_leases_are_small(tasks):
    leases, lent = Leases(iter(tasks), workers=2), []
    while lease := leases.take():
        lent.append([task.fingerprint for task in lease.tasks])
    assert [each for lease in lent for each in lease] == [task.fingerprint for task in tasks]
    assert len(lent[-1]) == 1 < len(lent[0])


def test_a_short_list_is_shared_by_all_workers(tasks):
    leases = Leases(iter(tasks[:4]), workers=4)
    assert [len(leases.take().tasks) for _ in range(4)] == [1] * 4


def test_what_a_dead_worker_had_is_lent_alone_and_three_times_at_most(tasks):
    leases, lent, failed = Leases(iter(tasks[:32]), workers=1), Counter(), []
    poison = tasks[2].fingerprint
    while lease := leases.take():
        lent.update(task.fingerprint for task in lease.tasks)
        if any(task.fingerprint == poison for task in lease.tasks):
            failed += leases.died(lease)
            continue
        for place in range(len(lease.tasks)):
            leases.settle(lease, place)
    assert [(each.task.fingerprint, each.error.code) for each in failed] == [(poison, "process-killed")]
    assert lent[poison] == 3
    assert len(lent) == 32
    assert not leases._deaths


def test_what_was_only_waiting_is_nobodys_death(tasks):
    leases = Leases(iter(tasks[:1]), workers=1)
    for _ in range(9):
        leases.give_back(leases.take())
    assert leases.take().tasks == tasks[:1]


def test_a_wrong_line_ends_the_list_and_is_kept(tasks):
    def wrong():
        yield tasks[0]
        raise PixartError("prompt-list-invalid", "list.txt:2: no")

    leases = Leases(wrong(), workers=1)
    assert leases.take().tasks == tasks[:1]
    assert leases.is_empty
    assert leases.wrong.code == "prompt-list-invalid"


@pytest.fixture
def lent(tasks):
    """Leases, and two of them: of a worker that is late."""
    leases = Leases(iter(tasks[:2]), workers=1)
    return leases, leases.take(), leases.take()


def test_the_first_of_two_outcomes_counts(tasks, lent):
    leases, late, _ = lent
    copy = leases.second(late)
    assert copy.tasks == late.tasks[:1]
    assert all(leases.is_doubtful(each) for each in copy.tasks)
    assert leases.second(late) is None  # a second time, and not a third
    assert leases.second(copy) is None
    assert leases.settle(copy, 0) is tasks[0]
    assert leases.settle(late, 0) is None
    assert not late.open
    assert not leases._twice


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_that_have_it_one_may_die(lent, first):
    leases, late, waiting = lent
    both = [late, leases.second(late)]
    assert list(leases.died(both[first])) == []
    leases.give_back(waiting)
    assert leases.take().tasks == waiting.tasks  # but not what the other still draws
    assert leases.settle(both[1 - first], 0) is not None


def test_when_both_die_it_is_lent_again(tasks, lent):
    leases, late, _ = lent
    copy = leases.second(late)
    assert [*leases.died(late), *leases.died(copy)] == []
    while (lease := leases.take()) and lease.tasks[0] is not tasks[0]:
        pass
    (failed,) = leases.died(lease)
    assert failed.task is tasks[0]


def test_the_third_death_settles_it_for_the_other_as_well(lent):
    leases, late, _ = lent
    leases._deaths[late.tasks[0].fingerprint] = 2
    copy = leases.second(late)
    assert [each.error.code for each in leases.died(copy)] == ["process-killed"]
    assert not late.open
