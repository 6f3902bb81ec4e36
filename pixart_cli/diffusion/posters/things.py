"""Things on a poster: sun, moon, clouds, birds, what stands on land or floats, and free shapes."""

from __future__ import annotations

import math
from random import Random

from pixart_cli.diffusion.posters.canvas import Canvas, Point, arc
from pixart_cli.diffusion.posters.palette import mix, shade
from pixart_cli.diffusion.posters.vocabulary import RGB

# From the least to the most, in shorter sides of the picture.
SUN_RADII, CLOUD_WIDTHS, BIRD_WIDTHS = (0.135, 0.17), (0.22, 0.27), (0.17, 0.21)


def draw_sun(canvas: Canvas, spot: Point, radius: float, ink: RGB, rng: Random) -> None:
    """A full disc, at times within a faint ring."""
    canvas.place("sun", *spot, radius)
    if rng.random() < 0.3:
        canvas.disc(*spot, radius * 1.35, mix(canvas.ground, ink, 0.18))
    canvas.disc(*spot, radius, ink)


def draw_moon(canvas: Canvas, spot: Point, radius: float, ink: RGB) -> None:
    """A waxing crescent, open to the left.

    Of what a caption does not say (which way a moon is open, where a boat goes) a small network draws the
    mean: a ring for a crescent. So that is the same in every picture.
    """
    x, y = spot
    canvas.place("moon", x, y, 1.1 * radius)
    half = math.radians(68)
    outer = arc(x, y, radius * 1.1, half, 2 * math.pi - half)
    tip_x, tip_y = math.cos(half) * radius * 1.1, math.sin(half) * radius * 1.1
    offset = radius * 0.62
    inner_radius = math.hypot(tip_x - offset, tip_y)
    lift = math.atan2(tip_y, tip_x - offset)
    inner = arc(x + offset, y, inner_radius, 2 * math.pi - lift, lift)
    canvas.polygon([(2 * x - px, py) for px, py in outer + inner], ink)


def draw_cloud(canvas: Canvas, spot: Point, width: float, ink: RGB, rng: Random) -> None:
    """A flat-bottomed cloud of three puffs, `width` wide."""
    x, y = spot
    canvas.place("cloud", x, y, width / 2)
    lean = rng.uniform(-0.06, 0.06) * width
    canvas.disc(x - 0.27 * width, y, 0.17 * width, ink)
    canvas.disc(x + lean, y - 0.1 * width, 0.24 * width, ink)
    canvas.disc(x + 0.28 * width, y + 0.01 * width, 0.16 * width, ink)
    canvas.box(x - 0.27 * width, y, x + 0.28 * width, y + 0.17 * width, ink)


def draw_bird(canvas: Canvas, spot: Point, width: float, ink: RGB) -> None:
    """A bird far off: two wings, `width` across."""
    x, y = spot
    canvas.place("bird", x, y, width / 2)
    thick, half = width * 0.18, width / 2
    for side in (-1, 1):
        wing = [
            (x + side * half * t, y - width * 0.3 * math.sin(math.pi * min(1.0, t * 0.92) ** 0.8))
            for t in _STEPS
        ]
        canvas.stroke(wing, thick, ink)


_STEPS = tuple(i / 12 for i in range(13))


def draw_standing(canvas: Canvas, kind: str, foot: Point, size: float, ink: RGB) -> None:
    """A tree, house, cactus or boat `size` high whose foot is at `foot`."""
    canvas.place(kind, foot[0], foot[1] - size / 2, size / 2)
    {"tree": _tree, "house": _house, "cactus": _cactus, "boat": _boat}[kind](canvas, foot, size, ink)


def _tree(canvas: Canvas, foot: Point, size: float, ink: RGB) -> None:
    x, y = foot
    canvas.box(x - 0.06 * size, y - 0.5 * size, x + 0.06 * size, y, ink)
    canvas.disc(x, y - 0.68 * size, 0.32 * size, ink)


def _house(canvas: Canvas, foot: Point, size: float, ink: RGB) -> None:
    x, y = foot
    half, wall = 0.36 * size, 0.46 * size
    canvas.box(x - half, y - wall, x + half, y, ink)
    canvas.polygon(
        [(x - 1.25 * half, y - wall), (x, y - 0.92 * size), (x + 1.25 * half, y - wall)], shade(ink, 0.86)
    )
    dark = sum(ink) < 260
    canvas.box(x - 0.07 * size, y - 0.26 * size, x + 0.09 * size, y, shade(ink, 1.35 if dark else 0.6))


def _cactus(canvas: Canvas, foot: Point, size: float, ink: RGB) -> None:
    x, y = foot
    w, arm = 0.12 * size, 0.095 * size
    canvas.box(x - w, y - 0.88 * size, x + w, y, ink)
    canvas.disc(x, y - 0.88 * size, w, ink)
    for side, low, high in ((-1, 0.3, 0.58), (1, 0.4, 0.7)):
        elbow = x + side * 0.36 * size
        canvas.box(min(x, elbow), y - (low + 0.19) * size, max(x, elbow), y - low * size, ink)
        canvas.box(elbow - arm, y - high * size, elbow + arm, y - low * size, ink)
        canvas.disc(elbow, y - high * size, arm, ink)


def _boat(canvas: Canvas, foot: Point, size: float, ink: RGB) -> None:
    """One piece, its sails on the hull: gaps and masts of a few pixels are lost in the squeezing by 8."""
    x, y = foot
    sails = [(-0.38, -0.25), (-0.06, -0.74), (-0.06, -1.0), (0.44, -0.25)]
    canvas.polygon([(x + a * size, y + b * size) for a, b in sails], ink)
    hull = [(-0.5, -0.26), (0.5, -0.26), (0.32, 0.0), (-0.32, 0.0)]
    canvas.polygon([(x + a * size, y + b * size) for a, b in hull], shade(ink, 0.86))


def draw_shape(canvas: Canvas, kind: str, centre: Point, radius: float, ink: RGB) -> None:
    """A circle, square, triangle or five-pointed star of about `radius`."""
    x, y = centre
    canvas.place(kind, x, y, radius)
    if kind == "circle":
        canvas.disc(x, y, radius, ink)
    elif kind == "square":
        side = 0.9 * radius
        canvas.box(x - side, y - side, x + side, y + side, ink)
    elif kind == "triangle":
        canvas.polygon(
            [(x, y - radius), (x + 1.05 * radius, y + 0.8 * radius), (x - 1.05 * radius, y + 0.8 * radius)],
            ink,
        )
    else:
        canvas.polygon([_star_point(x, y, radius * 1.12, i) for i in range(10)], ink)


def _star_point(x: float, y: float, radius: float, i: int) -> Point:
    reach = radius if i % 2 == 0 else radius * 0.45
    angle = -math.pi / 2 + i * math.pi / 5
    return x + reach * math.cos(angle), y + reach * math.sin(angle)
