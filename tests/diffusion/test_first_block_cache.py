"""When the blocks after the first are skipped, and what is then used for them."""

import torch

from pixart_cli.diffusion.first_block_cache import FirstBlockCache

FIRST, REST = torch.ones(2, 6, 4), torch.full((2, 6, 4), 3.0)


def filled(threshold):
    cache = FirstBlockCache(threshold)
    assert cache.recall(FIRST) is None
    cache.keep(REST)
    return cache


def test_nearly_the_same_first_block_recalls_the_rest():
    cache = filled(0.1)
    assert cache.recall(FIRST * 1.05) is REST
    assert cache.recall(FIRST * 1.05) is REST
    assert cache.skipped == 2


def test_change_adds_up_against_the_last_step_that_was_computed():
    cache = filled(0.1)
    assert cache.recall(FIRST * 1.08) is REST
    assert cache.recall(FIRST * 1.16) is None
    cache.keep(2 * REST)
    assert torch.equal(cache.recall(FIRST * 1.2), 2 * REST)


def test_zero_never_skips_and_another_number_of_branches_neither():
    assert filled(0.0).recall(FIRST) is None
    assert filled(9.0).recall(FIRST[:1]) is None


def test_what_is_forgotten_is_not_recalled():
    cache = filled(9.0)
    cache.forget()
    assert cache.recall(FIRST) is None


def test_the_sums_of_all_processes_decide():
    cache = filled(0.1)
    assert cache.recall(FIRST * 1.05, lambda sums: sums + torch.tensor([100.0, 0.0])) is None
    assert filled(0.1).recall(FIRST * 1.5, lambda sums: sums + torch.tensor([0.0, 1e4])) is REST
