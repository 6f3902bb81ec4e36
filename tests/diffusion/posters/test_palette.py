"""Inks: Lab values, differences and names."""

from random import Random

import pytest

from pixart_cli.diffusion.posters.palette import contrast, difference, jitter, lab, mix, nearest_ink, shade
from pixart_cli.diffusion.posters.vocabulary import COLOURS


def test_lab_of_known_colours() -> None:
    assert lab((255, 255, 255)) == pytest.approx((100.0, 0.0, 0.0), abs=0.02)
    assert lab((0, 0, 0)) == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    assert lab((255, 0, 0)) == pytest.approx((53.24, 80.09, 67.20), abs=0.05)  # Lindbloom's table


def test_difference_is_a_distance() -> None:
    assert difference((10, 20, 30), (10, 20, 30)) == 0.0
    assert difference((0, 0, 0), (255, 255, 255)) == pytest.approx(100.0, abs=0.02)
    assert contrast("red", "blue") == contrast("blue", "red")


def test_every_ink_is_told_from_every_other() -> None:
    names = list(COLOURS)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert min(contrast(a, b) for a, b in pairs) > 15


@pytest.mark.parametrize("name", COLOURS)
def test_variation_keeps_the_name(name: str) -> None:
    rng = Random(name)
    assert all(nearest_ink(jitter(rng, name)) == name for _ in range(40))


def test_mixing_and_shading() -> None:
    assert mix((0, 0, 0), (100, 200, 50), 0.5) == (50, 100, 25)
    assert shade((100, 100, 100), 0.5) == (50, 50, 50)
    assert shade((100, 100, 100), 2.0) == (255, 255, 255)
