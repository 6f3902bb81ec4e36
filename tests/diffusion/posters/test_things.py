"""Things: each leaves a mark of its own shape where it was put."""

from random import Random

import numpy as np
import pytest

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.seeing import pieces, to_lab
from pixart_cli.diffusion.posters.things import (
    draw_bird,
    draw_cloud,
    draw_moon,
    draw_shape,
    draw_standing,
    draw_sun,
)

INK = (10, 10, 10)


def marks(draw: object, *arguments: object) -> np.ndarray:
    canvas = Canvas(300, 300, (250, 250, 250))
    draw(canvas, *arguments)
    return np.argwhere((np.asarray(canvas.image) == INK).all(axis=-1))


def test_the_moon_is_a_part_of_the_sun() -> None:
    sun = marks(draw_sun, (150, 150), 60, INK, Random(1))
    moon = marks(draw_moon, (150, 150), 60, INK)
    assert 0.2 < len(moon) / len(sun) < 0.7


def test_the_moon_is_open_to_the_left() -> None:
    xs = marks(draw_moon, (150, 150), 60, INK)[:, 1]
    assert xs.mean() > 165


@pytest.mark.parametrize("kind", ["tree", "house", "cactus", "boat"])
def test_standing_things_are_as_high_as_asked(kind: str) -> None:
    ys = marks(draw_standing, kind, (150, 250), 120, INK)[:, 0]
    assert 250 - ys.min() > 40
    assert 250 - ys.min() < 125
    assert ys.max() <= 250 + 0.15 * 120


@pytest.mark.parametrize("kind", ["circle", "square", "triangle", "star"])
def test_shapes_are_centred(kind: str) -> None:
    ys, xs = marks(draw_shape, kind, (150, 150), 60, INK).T
    assert xs.mean() == pytest.approx(150, abs=2)
    assert abs(ys.mean() - 150) < 15


def test_clouds_and_birds_have_the_width_asked_for() -> None:
    for drawing in (
        marks(draw_cloud, (150, 150), 100, INK, Random(3)),
        marks(draw_bird, (150, 150), 100, INK),
    ):
        assert np.ptp(drawing[:, 1]) == pytest.approx(95, abs=20)


@pytest.mark.parametrize("kind", ["tree", "house", "cactus", "boat"])
def test_a_standing_thing_is_one_piece_at_the_size_networks_learn(kind: str) -> None:
    """Parts a pixel or two from each other run together in a latent, and are another outline then."""
    canvas = Canvas(3 * 192, 3 * 192, (250, 250, 250))
    draw_standing(canvas, kind, (288, 400), 0.33 * 576, INK)
    inked = [p for p in pieces(to_lab(canvas.image.reduce(3)), least=0.001) if p.ink == "black"]
    assert len(inked) == 1
