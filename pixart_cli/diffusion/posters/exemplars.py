"""What each kind of thing looks like: outlines of things drawn for comparison."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.draw import OVERSAMPLING
from pixart_cli.diffusion.posters.palette import contrast, jitter
from pixart_cli.diffusion.posters.seeing import Array, pieces, to_lab
from pixart_cli.diffusion.posters.things import (
    BIRD_WIDTHS,
    CLOUD_WIDTHS,
    SUN_RADII,
    draw_bird,
    draw_cloud,
    draw_moon,
    draw_shape,
    draw_standing,
    draw_sun,
)
from pixart_cli.diffusion.posters.vocabulary import COLOURS, SHAPES, THINGS

# The sun's disc and a circle have one outline: the question decides which word is meant.
ALIKE = {"circle": "sun"}
_PER_KIND = 40
_NEIGHBOURS = 5


@cache
def _outlines() -> tuple[Array, tuple[str, ...]]:
    """Outlines (N, 256) of things drawn alone, and their kinds."""
    vectors: list[Array] = []
    kinds: list[str] = []
    for kind in THINGS:
        rng = Random(f"exemplars {kind}")
        while kinds.count(kind) < _PER_KIND:
            piece = _draw_alone(kind, rng)
            if piece is not None:
                vectors.append(piece.ravel())
                kinds.append(kind)
    return np.stack(vectors), tuple(kinds)


def _draw_alone(kind: str, rng: Random) -> Array | None:
    ground, colour = rng.sample(tuple(COLOURS), 2)
    if contrast(ground, colour) < 32:
        return None
    canvas = Canvas(192 * OVERSAMPLING, 192 * OVERSAMPLING, jitter(rng, ground))
    centre, unit = (canvas.width / 2, canvas.height / 2), float(canvas.unit)
    ink = jitter(rng, colour)
    if kind in SHAPES:
        draw_shape(canvas, kind, centre, unit * rng.uniform(0.14, 0.34), ink)
    elif kind in ("sun", "moon"):
        radius = unit * rng.uniform(*SUN_RADII)
        if kind == "sun":
            draw_sun(canvas, centre, radius, ink, rng)
        else:
            draw_moon(canvas, centre, radius, ink)
    elif kind == "cloud":
        draw_cloud(canvas, centre, unit * rng.uniform(*CLOUD_WIDTHS), ink, rng)
    elif kind == "bird":
        draw_bird(canvas, centre, unit * rng.uniform(*BIRD_WIDTHS), ink)
    else:
        draw_standing(canvas, kind, (centre[0], 0.7 * unit), unit * rng.uniform(0.26, 0.4), ink)
    seen = [p for p in pieces(to_lab(canvas.image.reduce(OVERSAMPLING))) if p.ink == colour]
    if not seen:
        return None
    outline = max(seen, key=lambda p: p.area).outline
    return outline if rng.random() < 0.5 else outline[:, ::-1]  # a moon is one whichever way it is open


def kind_of_outline(outline: Array) -> tuple[str, float]:
    """The kind whose drawn outlines are nearest, and the distance (0 is equal, 1 is opposite)."""
    vectors, kinds = _outlines()
    distance = np.sqrt(((vectors - outline.ravel()) ** 2).mean(axis=1))
    nearest = distance.argsort()[:_NEIGHBOURS]
    votes: dict[str, float] = {}
    for k in nearest:
        votes[kinds[k]] = votes.get(kinds[k], 0.0) + 1.0 / (1e-3 + float(distance[k]))
    return max(votes, key=lambda kind: votes[kind]), float(distance[nearest[0]])
