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


@pytest.mark.parametrize("place", ["left", "center", "right", None])
def test_where_clouds_hang_says_how_many_there_are(place: str | None) -> None:
    seen: set[tuple[tuple[int, int], ...]] = set()
    for count in (1, 2, 3, 4):
        kept = {arrangement(count, place, seed) for seed in range(12)}
        assert len(kept) == 1
        seen |= kept
    assert len(seen) == 4


def arrangement(count: int, place: str | None, seed: int) -> tuple[tuple[int, int], ...]:
    """Of each cloud: left, in or right of their middle or the sun's (-1, 0, 1); upper or lower row."""
    clouds = [p for p in in_the_air(count, place, seed, (256, 256)) if p.kind == "cloud"]
    sun = [p.x for p in in_the_air(count, place, seed, (256, 256)) if p.kind == "sun"]
    middle = sun[0] if place == "center" else sum(c.x for c in clouds) / count
    top = min(c.y for c in clouds)
    across = [c.x - middle for c in clouds]
    sides = [0 if abs(x) < 64 else -1 if x < 0 else 1 for x in across]
    return tuple(sorted((side, int(c.y - top > 100)) for side, c in zip(sides, clouds, strict=True)))


@pytest.mark.parametrize("size", [(256, 256), (384, 160), (160, 384)])
@pytest.mark.parametrize("land", ["mountains", "hills", "dunes", "forest", "sea"])
def test_what_stands_leaves_the_land_s_edge_to_be_seen(land: str, size: tuple[int, int]) -> None:
    for count in (1, 2, 3, 4):
        scene = Landscape(
            sky="blue",
            land=land,
            land_colour="green",
            standing=Group(kind="house", count=count, colour="white"),
        )
        sketch = compose(Sketch, scene, *size, seed=count)
        tops = [house.y - house.radius for house in sketch.placed]
        edge = min(min(ridge) for ridge in sketch.ridges)
        assert min(tops) > edge - 0.12 * 3 * min(size)
        assert max(house.y + house.radius for house in sketch.placed) < 0.95 * 3 * size[1]


@pytest.mark.parametrize("kind", ["circle", "square", "triangle", "star"])
@pytest.mark.parametrize(("place", "third"), [("left", 0), ("center", 1), ("right", 2)])
def test_the_middle_of_a_placed_shape_is_in_its_third(kind: str, place: str, third: int) -> None:
    scene = Shapes(background="white", groups=(Group(kind=kind, count=1, colour="red", place=place),))
    for size in ((256, 256), (384, 160), (160, 384)):
        shape = compose(Sketch, scene, *size, seed=1).placed[0]
        assert int(shape.x / (3 * size[0]) * 3) == third
