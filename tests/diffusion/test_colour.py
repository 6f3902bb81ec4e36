"""Colours are brought back by one map for the whole picture; what is not colour stays."""

import pytest
import torch

from pixart_cli.diffusion.colour import match_colours


@pytest.fixture
def picture():
    """Patches of eight inks, 64 x 96."""
    inks = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return inks.repeat_interleave(16, 0).repeat_interleave(16, 1)


def test_a_shift_of_all_colours_is_undone(picture):
    faded = (picture - 0.5) * 0.8 + 0.52 + 0.05 * picture.flip(-1)
    assert (faded - picture).abs().max() > 0.05
    assert (match_colours(faded, picture) - picture).abs().max() < 0.01


def test_right_colours_stay_as_they_are(picture):
    assert torch.allclose(match_colours(picture, picture), picture, atol=1e-6)


def test_edges_that_moved_stay_where_they_are(picture):
    moved = picture.roll(3, dims=1)
    found = match_colours(moved, picture)
    steps = [each.diff(dim=1).abs().sum(dim=(0, 2)) for each in (moved, found)]
    assert torch.equal(steps[0] > 0.5, steps[1] > 0.5)


def test_one_ink_alone_is_moved_and_the_scale_is_not_guessed():
    plain, wanted = torch.full((32, 32, 3), 0.4), torch.full((32, 32, 3), 0.45)
    plain[0, 0] = 1.0
    found = match_colours(plain, wanted)
    assert found[16, 16, 0].item() == pytest.approx(0.45, abs=0.01)
    assert found[0, 0, 0].item() > 0.9


def test_values_stay_in_range(picture):
    found = match_colours(picture, picture * 2 - 0.5)
    assert found.min() >= 0
    assert found.max() <= 1
