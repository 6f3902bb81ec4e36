"""Lands: the ink is at the bottom, the sky stays at the top, and the ground is where things can stand."""

from random import Random

import pytest

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.lands import draw_land
from pixart_cli.diffusion.posters.palette import difference
from pixart_cli.diffusion.posters.vocabulary import LANDS

SKY, INK = (250, 240, 220), (30, 40, 120)


@pytest.mark.parametrize("land", LANDS)
@pytest.mark.parametrize(("width", "height"), [(300, 300), (480, 160), (160, 480)])
def test_sky_above_land_below(land: str, width: int, height: int) -> None:
    canvas = Canvas(width, height, SKY)
    ground = draw_land(canvas, land, INK, horizon=0.6 * height, glow=None, rng=Random(land))
    assert canvas.image.getpixel((width // 2, 2)) == SKY
    assert difference(canvas.image.getpixel((width // 2, height - 3)), INK) < 12
    assert len(ground) == width
    assert all(0.25 * height < y < height for y in ground)


def test_the_sea_mirrors_the_light() -> None:
    canvas = Canvas(300, 300, SKY)
    draw_land(canvas, "sea", INK, horizon=180, glow=(100, (220, 30, 30)), rng=Random(1))
    column = [canvas.image.getpixel((100, y)) for y in range(181, 300)]
    assert any(r > 120 and b < 90 for r, _, b in column)
