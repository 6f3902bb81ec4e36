"""What each kind of thing looks like: outlines of things drawn for comparison."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageFilter

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

_PER_KIND = 80
_STRAY, _BEND, _BLUR = 2.5, 12, 1.5  # pixels of 192: how far outlines stray, per how many, how soft
_NEIGHBOURS = 5
_BY_HAND = 0.5


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


@cache
def _outlines_of(among: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    vectors, kinds = _outlines()
    rows = [row for row, kind in enumerate(kinds) if kind in among]
    return vectors[rows], tuple(kinds[row] for row in rows)


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
    picture = canvas.image.reduce(OVERSAMPLING)
    if rng.random() < _BY_HAND:
        picture = cut_by_hand(picture, rng)
    seen = [p for p in pieces(to_lab(picture)) if p.ink == colour]
    if not seen:
        return None
    outline = max(seen, key=lambda p: p.area).outline
    return outline if rng.random() < 0.5 else outline[:, ::-1]  # a moon is one whichever way it is open


def cut_by_hand(picture: Image.Image, rng: Random) -> Image.Image:
    """The picture with outlines that stray and corners that are round, as small networks draw; anyone still
    sees what it shows.
    """
    width, height = picture.size
    far, chance = rng.uniform(0.0, _STRAY), np.random.default_rng(rng.getrandbits(62))
    coarse = chance.normal(0.0, 1.0, (2, height // _BEND, width // _BEND)).astype(np.float32)
    across, down = (
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in coarse
    )
    y, x = np.mgrid[:height, :width]
    rows = (y + far * down).round().astype(int).clip(0, height - 1)
    columns = (x + far * across).round().astype(int).clip(0, width - 1)
    strayed = Image.fromarray(np.asarray(picture)[rows, columns])
    return strayed.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, _BLUR)))


def kind_of_outline(outline: Array, among: tuple[str, ...]) -> tuple[str, float]:
    """The kind of `among` whose drawn outlines are nearest, and the distance (0 is equal, 1 is opposite).

    What else could be there is known by the picture and the place: a sail is no triangle, a house no sun.
    """
    vectors, kinds = _outlines_of(among)
    distance = np.sqrt(((vectors - outline.ravel()) ** 2).mean(axis=1))
    nearest = distance.argsort()[:_NEIGHBOURS]
    votes: dict[str, float] = {}
    for k in nearest:
        votes[kinds[k]] = votes.get(kinds[k], 0.0) + 1.0 / (1e-3 + float(distance[k]))
    return max(votes, key=lambda kind: votes[kind]), float(distance[nearest[0]])
