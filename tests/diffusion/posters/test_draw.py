"""Drawing: repeatable, of the size asked for, and with edges."""

from random import Random

import numpy as np
import pytest

from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Group, Landscape, Shapes, sample_scene


@pytest.mark.parametrize(("width", "height"), [(128, 128), (336, 192), (80, 192), (192, 80)])
def test_a_picture_has_the_size_asked_for(width: int, height: int) -> None:
    rng = Random(width)
    for i in range(6):
        assert draw(sample_scene(rng), width, height, seed=i).size == (width, height)


def test_equal_seeds_give_equal_pictures() -> None:
    scene = sample_scene(Random(5))
    first, again, other = (draw(scene, 96, 96, seed=seed).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_square_is_where_and_what_it_should_be() -> None:
    scene = Shapes(background="white", groups=(Group(kind="square", count=1, colour="red", place="left"),))
    pixels = np.asarray(draw(scene, 240, 120, seed=0)).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 2] < 120)
    ys, xs = np.nonzero(red)
    assert xs.mean() / 240 < 1 / 3
    assert red.sum() == pytest.approx((np.ptp(xs) + 1) * (np.ptp(ys) + 1), rel=0.03)


def test_sky_is_above_land() -> None:
    pixels = np.asarray(
        draw(Landscape(sky="yellow", land="hills", land_colour="navy"), 96, 96, seed=4)
    ).astype(int)
    assert pixels[:10, :, 0].mean() > 200
    assert pixels[-10:, :, 0].mean() < 80
