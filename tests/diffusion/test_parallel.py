"""Forwards and whole samplings of two, three and four real processes, against those of one."""

import contextlib
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.diffusion.parallel import Shared, Whole, deal, share, shared_out
from tests.diffusion.four_processes import Counting
from tests.toy_model import toy_transformer

TEAMS = (2, 3, 4)


@given(rows=st.integers(1, 300), parts=st.integers(1, 9), unit=st.integers(1, 16))
def test_rows_are_dealt_out_whole_and_evenly(rows, parts, unit):
    spans = deal(rows, parts, unit)
    assert len(spans) == parts
    assert (spans[0][0], spans[-1][1]) == (0, rows)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(first % unit == 0 or first == rows for first, _ in spans)
    windows = [-(-(end - first) // unit) for first, end in spans]
    assert max(windows) - min(windows) <= 1


def test_uneven_rows_and_more_processes_than_rows():
    assert deal(135, 2, 2) == [(0, 68), (68, 135)]
    assert deal(5, 3) == [(0, 2), (2, 4), (4, 5)]
    assert deal(2, 4) == [(0, 1), (1, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize("team", TEAMS)
def test_a_forward_of_several_processes_gives_what_one_gives(four_processes, team):
    found = [process[f"forwards {team}"] for process in four_processes[:team]]
    assert len(found[0]) > 40
    for label in found[0]:
        wide = 0.05 if label == "half precision" else 1e-5
        assert all(each[label]["same"] and each[label]["apart"] <= wide for each in found), label


@pytest.mark.parametrize("team", TEAMS)
def test_a_whole_sampling_of_several_processes_gives_what_one_gives(four_processes, team):
    found = [process[f"samples {team}"] for process in four_processes[:team]]
    assert len(found[0]) == 5
    for label in found[0]:
        # of the range, which an untrained network widens from step to step
        assert all(each[label]["apart"] <= 1e-5 * each[label]["range"] for each in found), label


@pytest.mark.parametrize("team", TEAMS)
def test_all_processes_hold_the_same_bits(four_processes, team):
    for what in ("forwards", "samples"):
        found = [process[f"{what} {team}"] for process in four_processes[:team]]
        assert all(len({each[label]["digest"] for each in found}) == 1 for label in found[0])


def gathers(process, team, label):
    return process[f"forwards {team}"][label]["gathers"]


def test_two_processes_take_a_branch_each_and_exchange_once(four_processes):
    guided = gathers(four_processes[0], 2, "plain (10, 14) (1, 9) all")
    # 35 tokens of 2 x 2 x 8 numbers in float32
    assert guided == [[False, 35 * 32 * 4]]
    unguided = gathers(four_processes[0], 2, "plain (10, 14) (9,) all")
    # keys and values of 3 of 5 rows, 24 wide, in three blocks; then the output's rows
    assert unguided == [[False, 2 * 21 * 24 * 4]] * 3 + [[False, 21 * 32 * 4]]


def test_four_processes_are_two_branches_of_two_shares(four_processes):
    guided = gathers(four_processes[3], 4, "plain (10, 14) (1, 9) all")
    assert guided == [[True, 2 * 21 * 24 * 4]] * 3 + [[False, 21 * 32 * 4]]


def test_three_processes_share_both_branches_out(four_processes):
    guided = gathers(four_processes[1], 3, "plain (10, 14) (1, 9) none")
    assert guided == [[False, 2 * 2 * 14 * 24 * 4]] * 3 + [[False, 2 * 14 * 32 * 4]]


def test_compressed_keys_are_compressed_before_they_are_sent(four_processes):
    found = [gathers(four_processes[0], 2, f"{name} (18, 8) (9,) all") for name in ("plain", "pool")]
    plain, pooled = ([size for _, size in each] for each in found)
    # Nine rows of four tokens, dealt out as 5 + 4, in windows as 6 + 3: 3 rows of 2 keys are left of 6.
    assert plain[:3] == [2 * 20 * 24 * 4] * 3
    assert pooled[:3] == [2 * 24 * 24 * 4] + [2 * 6 * 24 * 4] * 2


def test_processes_decide_alike_what_a_cache_skips(four_processes):
    for team in TEAMS:
        alone, together = zip(*(process[f"skipped {team}"] for process in four_processes[:team]), strict=True)
        assert len({*alone, *together}) == 1
        assert alone[0] > 0


def test_a_forward_is_shared_out_only_while_that_is_in_force():
    transformer, found = toy_transformer(), []
    with contextlib.suppress(ZeroDivisionError), shared_out(transformer, Counting(1, 3)):
        found.append(share(transformer, (5, 7), branches=2))
        raise ZeroDivisionError
    assert isinstance(found[0], Shared)
    assert type(share(transformer, (5, 7), branches=2)) is Whole


def test_what_cannot_be_shared_out_is_refused():
    transformer = toy_transformer(kv_compression={"sampling": "conv", "ratio": 3, "layers": [0]})
    part = Shared(Counting(0, 2), (2, 4), branches=1, unit=3)
    with pytest.raises(ValueError, match="leaves nothing"):
        part.attention(transformer.transformer_blocks[0].attn1, torch.zeros(1, 8, 24))
    attn = toy_transformer().transformer_blocks[0].attn1
    attn.set_processor(torch.nn.Identity())
    with pytest.raises(ValueError, match="Identity"):
        part.attention(attn, torch.zeros(1, 8, 24))
