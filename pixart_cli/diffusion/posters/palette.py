"""Inks in numbers: CIE Lab, differences, shades, and the name of a colour seen."""

from __future__ import annotations

import math
from functools import cache
from random import Random

from pixart_cli.diffusion.posters.vocabulary import COLOURS, RGB

Lab = tuple[float, float, float]


@cache
def lab(rgb: RGB) -> Lab:
    """CIE L*a*b* (D65, 2°) of an sRGB colour given in 0..255."""
    r, g, b = (_linear(v / 255.0) for v in rgb)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883
    fx, fy, fz = _cube_root(x), _cube_root(y), _cube_root(z)
    return 116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)


def _linear(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else float(((v + 0.055) / 1.055) ** 2.4)


def _cube_root(t: float) -> float:
    return float(t ** (1.0 / 3.0)) if t > 0.008856 else 7.787 * t + 16.0 / 116.0


def difference(first: RGB, second: RGB) -> float:
    """CIE76 difference of two sRGB colours; about 2 is just visible."""
    return math.dist(lab(first), lab(second))


@cache
def contrast(first: str, second: str) -> float:
    """CIE76 difference of two inks by name."""
    return difference(COLOURS[first], COLOURS[second])


def nearest_ink(rgb: RGB) -> str:
    """The name of the ink nearest to a colour seen."""
    return min(COLOURS, key=lambda name: difference(rgb, COLOURS[name]))


def jitter(rng: Random, colour: str, amount: int = 7) -> RGB:
    """The ink with a little natural variation, still nearest to its own name."""
    r, g, b = COLOURS[colour]
    moved = [min(255, max(0, v + rng.randint(-amount, amount))) for v in (r, g, b)]
    rgb = (moved[0], moved[1], moved[2])
    return rgb if nearest_ink(rgb) == colour else COLOURS[colour]


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`first` with `share` (0..1) of `second` in it."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(first, second, strict=True))
    return r, g, b


def shade(rgb: RGB, factor: float) -> RGB:
    """Darker below 1, lighter (towards white) above 1."""
    return mix(rgb, (0, 0, 0), 1.0 - factor) if factor <= 1.0 else mix(rgb, (255, 255, 255), factor - 1.0)
