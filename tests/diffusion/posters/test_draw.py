"""Drawing: repeatable, of the size asked for, and with edges."""

from random import Random

import numpy as np
import pytest

from pixart_cli.diffusion.posters.canvas import Placed, Sketch
from pixart_cli.diffusion.posters.draw import compose, draw
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


def in_the_air(count: int, place: str | None, seed: int, size: tuple[int, int]) -> list[Placed]:
    """The clouds of a sky, beside a sun at `place`, as drawn."""
    sun = Group(kind="sun", count=1, colour="red", place=place) if place else None
    scene = Landscape(
        sky="blue", land="hills", land_colour="green", celestial=sun,
        flyers=Group(kind="cloud", count=count, colour="white"),
    )  # fmt: skip
    return compose(Sketch, scene, *size, seed=seed).placed


@pytest.mark.parametrize("size", [(256, 256), (384, 160), (160, 384)])
@pytest.mark.parametrize("place", ["left", "center", "right"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_clouds_hang_apart_from_each_other_and_from_the_sun(
    count: int, place: str, size: tuple[int, int]
) -> None:
    for seed in range(12):
        sun, *clouds = in_the_air(count, place, seed, size)
        assert len(clouds) == count
        for k, cloud in enumerate(clouds):
            assert cloud.x - 0.7 * cloud.radius > 0
            assert cloud.x + 0.7 * cloud.radius < 3 * size[0]
            assert abs(cloud.x - sun.x) > sun.radius + 0.5 * cloud.radius
            for other in clouds[:k]:
                beside = abs(cloud.x - other.x) > cloud.radius + other.radius
                above = abs(cloud.y - other.y) > 0.52 * (cloud.radius + other.radius)
                assert beside or above


def test_where_clouds_hang_says_how_many_there_are() -> None:
    def heights(count: int) -> set[tuple[int, ...]]:
        """How many clouds stand over each other, column by column."""
        found = set()
        for seed in range(20):
            clouds = sorted(cloud.x for cloud in in_the_air(count, "center", seed, (256, 256))[1:])
            left = sum(x < 3 * 128 for x in clouds)
            found.add((left, count - left))
        return found

    assert heights(1) == {(0, 1), (1, 0)}
    assert heights(2) == {(1, 1)}
    assert heights(3) == {(1, 2), (2, 1)}
    assert heights(4) == {(2, 2)}
