"""Lands: layered mountains, hills, dunes, sea, forest and city, each of one ink in several shades."""

from __future__ import annotations

import math
from random import Random

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.palette import mix, shade
from pixart_cli.diffusion.posters.vocabulary import RGB

Glow = tuple[float, RGB] | None


def draw_land(
    canvas: Canvas, land: str, ink: RGB, *, horizon: float, glow: Glow, bare: bool, rng: Random
) -> None:
    """Draw the land under `horizon`; `bare` where nothing will stand on it.

    The lowest tenth of the picture always shows the ink itself; layers behind mix in the sky.
    `glow` is the column and ink of a light that the sea mirrors.
    """
    if land == "sea":
        _sea(canvas, ink, horizon, glow, rng)
    elif land == "city":
        _city(canvas, ink, horizon, rng)
    elif land == "dunes":
        _dunes(canvas, ink, horizon, bare, rng)
    else:
        _layers(canvas, land, ink, horizon, rng)


def _layers(canvas: Canvas, land: str, ink: RGB, horizon: float, rng: Random) -> None:
    ridges = {"mountains": _peaks, "hills": _waves, "forest": _firs}[land]
    back = 1 if land == "forest" else rng.randint(1, 2)
    bottom = canvas.height * 0.84
    for i in range(back, -1, -1):
        level = horizon + (bottom - horizon) * (1 - i / (back + 1)) * 0.62
        ridge = ridges(canvas, level, rng)
        canvas.below(ridge, mix(ink, canvas.ground, (0.3 if back < 2 else 0.25) * i))


def _peaks(canvas: Canvas, level: float, rng: Random) -> list[float]:
    """Straight slopes between peaks and valleys."""
    count = max(2, round(canvas.width / canvas.unit * rng.uniform(1.6, 2.6)))
    step = canvas.width / count
    points = [(-step, level + 0.1 * canvas.unit)]
    for i in range(count + 1):
        points.append(((i + rng.uniform(-0.2, 0.2)) * step, level - rng.uniform(0.1, 0.24) * canvas.unit))
        points.append(
            ((i + 0.5 + rng.uniform(-0.12, 0.12)) * step, level + rng.uniform(0.0, 0.07) * canvas.unit)
        )
    return _straight(points, canvas.width)


def _straight(points: list[tuple[float, float]], width: int) -> list[float]:
    points = sorted(points)
    ridge, k = [], 0
    for x in range(width):
        while k + 2 < len(points) and points[k + 1][0] <= x:
            k += 1
        (x0, y0), (x1, y1) = points[k], points[k + 1]
        ridge.append(y0 + (y1 - y0) * min(1.0, (x - x0) / max(1.0, x1 - x0)))
    return ridge


def _waves(canvas: Canvas, level: float, rng: Random) -> list[float]:
    """Round backs, one beside the other."""
    length = canvas.unit * rng.uniform(0.75, 1.05)
    shift, high = rng.uniform(0, 1), canvas.unit * rng.uniform(0.12, 0.15)
    return [
        level + high * (0.6 - abs(math.sin(math.pi * (x / length + shift))) ** 1.5)
        for x in range(canvas.width)
    ]


def _dunes(canvas: Canvas, ink: RGB, horizon: float, bare: bool, rng: Random) -> None:
    """One row of dunes, dark on the side away from the wind where nothing stands before it."""
    ridge = _crests(canvas, horizon + 0.3 * (0.84 * canvas.height - horizon), rng)
    canvas.below(ridge, ink)
    if bare:
        _shadows(canvas, ridge, shade(ink, 0.66) if sum(ink) > 200 else shade(ink, 1.5))


def _crests(canvas: Canvas, level: float, rng: Random) -> list[float]:
    """A long hollow rise to a sharp crest, and a steep fall; one crest at least is in the picture."""
    length = canvas.unit * rng.uniform(0.95, 1.25)
    crest = rng.uniform(0.15, 0.8) * min(length, canvas.width)
    shift, high = _CREST * length - crest, canvas.unit * rng.uniform(0.2, 0.25)
    ridge = []
    for x in range(canvas.width):
        t = ((x + shift) % length) / length
        rise = t / _CREST if t < _CREST else (1 - t) / (1 - _CREST)
        ridge.append(level + high * (0.5 - rise**1.7))
    return ridge


_CREST = 0.68


def _shadows(canvas: Canvas, ridge: list[float], ink: RGB) -> None:
    """The far side of each crest, from its top in a bow down to its foot."""
    tops = [x for x in range(1, len(ridge) - 1) if ridge[x] <= ridge[x - 1] and ridge[x] < ridge[x + 1]]
    for top in tops:
        foot = next((x for x in range(top + 1, len(ridge)) if ridge[x] <= ridge[x - 1]), len(ridge))
        slope = [(float(x), ridge[x]) for x in range(top, foot, max(1, (foot - top) // 24))]
        span, deep = foot - top, 0.95 * canvas.unit * (1 - _CREST)
        bow = [
            (top + span * (1 - t) - 0.5 * span * math.sin(math.pi * t), ridge[top] + deep * (1 - t) ** 0.8)
            for t in (i / 12 for i in range(13))
        ]
        canvas.polygon([*slope, (float(foot - 1), ridge[foot - 1]), *bow], ink)


def _firs(canvas: Canvas, level: float, rng: Random) -> list[float]:
    """A row of pointed trees."""
    ridge = [level + 0.05 * canvas.unit] * canvas.width
    x = -0.05 * canvas.unit
    while x < canvas.width + 0.05 * canvas.unit:
        high, half = canvas.unit * rng.uniform(0.13, 0.22), canvas.unit * rng.uniform(0.05, 0.065)
        for k in range(max(0, int(x - half)), min(canvas.width, int(x + half) + 1)):
            top = level + 0.05 * canvas.unit - high * (1 - abs(k - x) / half)
            ridge[k] = min(ridge[k], top)
        x += half * rng.uniform(1.25, 1.7)
    return ridge


def _sea(canvas: Canvas, ink: RGB, horizon: float, glow: Glow, rng: Random) -> None:
    w, h, unit = canvas.width, canvas.height, canvas.unit
    canvas.below([horizon] * w, ink)
    light = shade(ink, 1.14 if sum(ink) < 600 else 0.94)
    depth = h - horizon
    for _ in range(rng.randint(4, 6) * max(1, round(w / unit))):
        y, x = horizon + depth * rng.uniform(0.1, 0.95), rng.uniform(0, w)
        half = unit * rng.uniform(0.08, 0.16)
        canvas.box(x - half, y, x + half, y + 0.016 * unit, light)
    if glow is not None:
        _reflection(canvas, glow, ink, horizon)


def _reflection(canvas: Canvas, glow: tuple[float, RGB], ink: RGB, horizon: float) -> None:
    x, light = glow
    depth, tint = canvas.height - horizon, mix(light, ink, 0.25)
    for i in range(5):
        half = canvas.unit * (0.13 - 0.018 * i)
        y = horizon + depth * (0.05 + 0.15 * i)
        canvas.box(x - half, y, x + half, y + 0.05 * depth, tint)


def _city(canvas: Canvas, ink: RGB, horizon: float, rng: Random) -> None:
    w, unit = canvas.width, canvas.unit
    for share, lift in ((0.24, 0.08), (0.0, 0.0)):
        body = mix(ink, canvas.ground, share)
        x = -rng.uniform(0, 0.1) * unit
        roofs = [float(canvas.height)] * w
        canvas.ridges.append(roofs)
        while x < w:
            width = unit * rng.uniform(0.1, 0.17)
            top = horizon - unit * (rng.uniform(-0.08, 0.14) + lift)
            canvas.box(x, top, x + width, canvas.height, body)
            for column in range(max(0, int(x)), min(w, int(x + width))):
                roofs[column] = min(roofs[column], top)
            if share == 0.0:
                _windows(canvas, (x, top, width), ink)
            x += width * (1.0 if share == 0.0 else 1.02)


def _windows(canvas: Canvas, tower: tuple[float, float, float], ink: RGB) -> None:
    x, top, width = tower
    pane = shade(ink, 1.4 if sum(ink) < 420 else 0.75)
    size = 0.026 * canvas.unit
    for row in range(3):
        for column in (0.3, 0.7):
            cx, cy = x + width * column, top + canvas.unit * (0.05 + 0.07 * row)
            canvas.box(cx - size / 2, cy, cx + size / 2, cy + size * 1.3, pane)
