"""Lands: the ink is at the bottom, the sky stays at the top, and each is seen by what it alone has."""

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
    draw_land(canvas, land, INK, horizon=0.6 * height, glow=None, bare=True, rng=Random(land))
    assert canvas.image.getpixel((width // 2, 2)) == SKY
    assert difference(canvas.image.getpixel((width // 2, height - 3)), INK) < 12
    assert canvas.ridges
    assert all(0.25 * height < min(ridge) < 0.9 * height for ridge in canvas.ridges)


def tones(land: str, seed: int, *, bare: bool = True) -> list[tuple[int, int, int]]:
    """Inks that cover a hundredth of a land's part of the picture, the most frequent first."""
    canvas = Canvas(300, 300, SKY)
    draw_land(canvas, land, INK, horizon=180, glow=None, bare=bare, rng=Random(seed))
    found = canvas.image.crop((0, 100, 300, 300)).getcolors(1 << 16)
    return [ink for count, ink in sorted(found, reverse=True) if count > 600 and ink != SKY]


@pytest.mark.parametrize("seed", range(6))
def test_hills_are_seen_through_haze_and_dunes_have_a_dark_side(seed: int) -> None:
    first, *behind = tones("hills", seed)
    assert first == INK
    assert behind
    assert all(sum(ink) > sum(INK) for ink in behind)
    sand, side = tones("dunes", seed)
    assert sand == INK
    assert difference(side, INK) > 12
    assert tones("dunes", seed, bare=False) == [INK]


def test_the_sea_mirrors_the_light() -> None:
    canvas = Canvas(300, 300, SKY)
    draw_land(canvas, "sea", INK, horizon=180, glow=(100, (220, 30, 30)), bare=True, rng=Random(1))
    column = [canvas.image.getpixel((100, y)) for y in range(181, 300)]
    assert any(r > 120 and b < 90 for r, _, b in column)
