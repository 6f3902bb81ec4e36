"""What each kind of thing looks like: outlines and land features of pictures drawn for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.draw import OVERSAMPLING, draw
from pixart_cli.diffusion.posters.palette import contrast, jitter
from pixart_cli.diffusion.posters.scene import Landscape, sample_scene
from pixart_cli.diffusion.posters.seeing import Array, pieces, skyline, to_lab
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
from pixart_cli.diffusion.posters.vocabulary import COLOURS, LANDS, SHAPES, THINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The sun's disc and a circle have one outline: the question decides which word is meant.
ALIKE = {"circle": "sun"}
_PER_KIND = 40
_PER_LAND = 150
_BLUR, _GRAIN, _GRAIN_SIDE = (0.6, 1.6), (2.0, 8.0), 4
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
        (draw_sun if kind == "sun" else draw_moon)(canvas, centre, unit * rng.uniform(*SUN_RADII), ink, rng)
    elif kind == "cloud":
        draw_cloud(canvas, centre, unit * rng.uniform(*CLOUD_WIDTHS), ink, rng)
    elif kind == "bird":
        draw_bird(canvas, centre, unit * rng.uniform(*BIRD_WIDTHS), ink)
    else:
        draw_standing(canvas, kind, (centre[0], 0.7 * unit), unit * rng.uniform(0.26, 0.4), ink, rng)
    seen = [p for p in pieces(to_lab(canvas.image.reduce(OVERSAMPLING))) if p.ink == colour]
    return max(seen, key=lambda p: p.area).outline if seen else None


def kind_of_outline(outline: Array) -> tuple[str, float]:
    """The kind whose drawn outlines are nearest, and the distance (0 is equal, 1 is opposite)."""
    vectors, kinds = _outlines()
    distance = np.sqrt(((vectors - outline.ravel()) ** 2).mean(axis=1))
    nearest = distance.argsort()[:_NEIGHBOURS]
    votes: dict[str, float] = {}
    for k in nearest:
        votes[kinds[k]] = votes.get(kinds[k], 0.0) + 1.0 / (1e-3 + float(distance[k]))
    return max(votes, key=lambda kind: votes[kind]), float(distance[nearest[0]])


def land_features(pixels: Array) -> NDArray[np.float64]:
    """Numbers that tell lands apart: the skyline's shape, and which way edges run below it."""
    pixels = _smoothed(_smoothed(pixels))
    height, width = pixels.shape[:2]
    unit = min(height, width)
    edge = skyline(pixels)
    line = edge * height / unit
    step = np.diff(line)
    bend = np.diff(step)
    shape = [
        line.std(), np.abs(step).mean(), np.abs(step).max(), np.abs(bend).mean(),
        (np.abs(step) < 1e-4).mean(), np.percentile(np.abs(step), 90),
        (np.sign(step[1:]) * np.sign(step[:-1]) < 0).mean(),
        (step > 0.002).mean() - (step < -0.002).mean(), ((step**3).mean()) * 1e3,
    ]  # fmt: skip
    below = np.arange(height)[:, None] >= (edge * height + 2)[None, :]
    light = pixels[..., 0]
    gy, gx = np.gradient(light)
    weight = np.hypot(gx, gy) * below
    angle = (np.arctan2(gy, gx) % np.pi) / np.pi
    histogram = np.histogram(angle, bins=8, range=(0, 1), weights=weight)[0]
    total = histogram.sum()
    edges = [total / below.sum() / 5.0 if below.any() else 0.0, *(histogram / max(1e-6, total))]
    return np.array([*shape, *edges], dtype=np.float64)


def _smoothed(pixels: Array) -> Array:
    """The mean of 3 x 3 pixels around each."""
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = pixels.shape[:2]
    total = np.zeros_like(pixels)
    for top in range(3):
        for left in range(3):
            total += padded[top : top + height, left : left + width]
    return total / np.float32(9)


def softened(picture: Image.Image, chance: str) -> Image.Image:
    """The picture a little blurred and grainy, as networks leave them; anyone still sees what it shows."""
    rng = Random(chance)
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(*_BLUR))), dtype=np.float32)
    rows, columns = (side // _GRAIN_SIDE + 1 for side in blurred.shape[:2])
    noise = np.random.default_rng(rng.getrandbits(62)).normal(0.0, rng.uniform(*_GRAIN), (rows, columns, 3))
    grain = noise.repeat(_GRAIN_SIDE, axis=0).repeat(_GRAIN_SIDE, axis=1)
    noisy = blurred + grain[: blurred.shape[0], : blurred.shape[1]]
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@cache
def _land_model() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale of the features over drawn pictures, and the weights that tell the lands apart."""
    rows: list[NDArray[np.float64]] = []
    lands: list[str] = []
    rng = Random("exemplars of lands")
    while min((lands.count(land) for land in LANDS), default=0) < 2 * _PER_LAND:
        scene = sample_scene(rng)
        if not isinstance(scene, Landscape) or lands.count(scene.land) >= 2 * _PER_LAND:
            continue
        width, height = rng.choice(((256, 256), (336, 192), (208, 304)))
        picture = draw(scene, width, height, seed=rng.getrandbits(32))
        for seen in (picture, softened(picture, f"land {len(rows)}")):
            rows.append(land_features(to_lab(seen)))
            lands.append(scene.land)
    table = np.stack(rows)
    mean, scale = table.mean(axis=0), table.std(axis=0) + 1e-9
    return mean, scale, _discriminant((table - mean) / scale, lands)


def _discriminant(table: NDArray[np.float64], lands: Sequence[str]) -> NDArray[np.float64]:
    """Ridge-regressed indicator weights, (features + pairs + 1, lands)."""
    wanted = np.array([[1.0 if land == name else 0.0 for name in LANDS] for land in lands])
    expanded = _expand(table)
    gram = expanded.T @ expanded + 3.0 * np.eye(expanded.shape[1])
    return np.asarray(np.linalg.solve(gram, expanded.T @ wanted))


def _expand(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features, their squashed products, and a one."""
    bounded = np.tanh(table / 2.0)
    first, second = np.triu_indices(table.shape[1])
    pairs = bounded[:, first] * bounded[:, second]
    return np.concatenate([bounded, pairs, np.ones((len(table), 1))], axis=1)


def kind_of_land(pixels: Array) -> str:
    """The land a picture shows."""
    mean, scale, projection = _land_model()
    row = _expand(((land_features(pixels) - mean) / scale)[None])
    return LANDS[int((row @ projection).argmax())]
