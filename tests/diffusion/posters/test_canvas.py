"""The canvas: what is filled is filled, and nothing else."""

import math

import pytest

from pixart_cli.diffusion.posters.canvas import Canvas, arc

RED, WHITE = (200, 0, 0), (255, 255, 255)


def share(canvas: Canvas, ink: tuple[int, int, int]) -> float:
    colours = {colour: count for count, colour in canvas.image.getcolors(1 << 16) or []}
    return colours.get(ink, 0) / (canvas.width * canvas.height)


def test_disc_box_and_polygon_cover_their_areas() -> None:
    for draw, area in (
        (lambda c: c.disc(100, 100, 50, RED), math.pi * 50**2),
        (lambda c: c.box(20, 30, 120, 80, RED), 100 * 50),
        (lambda c: c.polygon([(0, 0), (100, 0), (0, 100)], RED), 5000),
    ):
        canvas = Canvas(200, 200, WHITE)
        draw(canvas)
        assert share(canvas, RED) * 200 * 200 == pytest.approx(area, rel=0.04)


def test_below_a_ridge() -> None:
    canvas = Canvas(100, 100, WHITE)
    canvas.below([60.0] * 100, RED)
    assert canvas.image.getpixel((50, 58)) == WHITE
    assert canvas.image.getpixel((50, 62)) == RED


def test_a_gradient_runs_from_top_to_bottom() -> None:
    canvas = Canvas(10, 256, WHITE)
    canvas.gradient((0, 0, 0), (200, 100, 50))
    rows = [canvas.image.getpixel((5, y)) for y in (0, 128, 255)]
    assert rows == [(0, 0, 0), (100, 50, 25), (199, 100, 50)]


@pytest.mark.parametrize("direction", ["vertical", "horizontal", "diagonal"])
def test_stripes_cover_half(direction: str) -> None:
    canvas = Canvas(240, 240, WHITE)
    canvas.stripes(RED, direction, 5)
    assert share(canvas, RED) == pytest.approx(0.5, abs=0.04)


def test_an_arc_keeps_its_radius() -> None:
    assert all(math.hypot(x - 3, y - 4) == pytest.approx(2.0) for x, y in arc(3, 4, 2, 0.0, 3.0))
