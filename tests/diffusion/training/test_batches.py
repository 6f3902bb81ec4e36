"""Which pictures a step sees."""

from collections import Counter

import pytest

from pixart_cli.diffusion.training.batches import BatchPlan, Team, seed_of

WIDE, TALL = (192, 336), (304, 208)
BUCKETS = [WIDE] * 5 + [TALL] * 3


def test_a_batch_holds_one_shape() -> None:
    plan = BatchPlan(BUCKETS, 2, seed=0)
    for step in range(30):
        assert len({BUCKETS[index] for index in plan.at(step)}) == 1
        assert len(plan.at(step)) == 2


def test_an_epoch_shows_every_picture() -> None:
    plan = BatchPlan(BUCKETS, 2, seed=0)
    steps = [step for step in range(20) if plan.epoch_of(step) == 0]
    assert len(steps) == 5  # three batches of five wide pictures, two of three tall ones
    seen = Counter(index for step in steps for index in plan.at(step))
    assert set(seen) == set(range(8))
    assert sum(seen.values()) == 10


def test_a_step_needs_no_step_before_it() -> None:
    one, other = BatchPlan(BUCKETS, 2, seed=3), BatchPlan(BUCKETS, 2, seed=3)
    far = [one.at(step) for step in range(40)]
    assert other.at(33) == far[33]
    assert [other.at(step) for step in (2, 38, 0)] == [far[2], far[38], far[0]]


def test_seed_and_epoch_change_the_order() -> None:
    def first(seed: int, epoch: int) -> list[tuple[int, ...]]:
        plan = BatchPlan([WIDE] * 64, 4, seed=seed)
        return [plan.at(16 * epoch + step) for step in range(16)]

    assert first(0, 0) == first(0, 0)
    assert first(0, 0) != first(1, 0)
    assert first(0, 0) != first(0, 1)


def test_fewer_pictures_than_a_batch_fill_it() -> None:
    plan = BatchPlan([WIDE, WIDE, TALL], 8, seed=0)
    counts = sorted(sorted(Counter(plan.at(step)).values()) for step in range(2))
    assert counts == [[4, 4], [8]]


def test_pictures_of_the_class_are_as_many_as_the_others_and_all_get_their_turn() -> None:
    plan = BatchPlan([WIDE] * 10, 1, seed=0, extra=frozenset(range(2, 10)))
    epochs = [[plan.at(step)[0] for step in range(4 * epoch, 4 * epoch + 4)] for epoch in range(4)]
    assert all({0, 1} <= set(epoch) for epoch in epochs)
    assert {index for epoch in epochs for index in epoch} == set(range(10))


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_and_parts_share_the_whole_batch_out(processes: int, accumulate: int) -> None:
    teams = [
        Team(batch_size=8 // processes // accumulate, accumulate=accumulate, processes=processes, rank=rank)
        for rank in range(processes)
    ]
    slots = [slot for team in teams for part in range(accumulate) for slot in team.slots(part)]
    assert sorted(slots) == list(range(8))
    assert {team.whole for team in teams} == {8}


def test_seeds_are_far_apart_and_stay() -> None:
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)
    assert len({seed_of(0, step, slot) for step in range(50) for slot in range(8)}) == 400
    assert seed_of(1, 23) != seed_of(12, 3)
    assert 0 <= seed_of("x") < 2**63
