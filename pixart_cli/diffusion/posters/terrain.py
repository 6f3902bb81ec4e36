"""What each land looks like: its skyline, its tones and its edges, compared with pictures drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.exemplars import kind_of_outline
from pixart_cli.diffusion.posters.scene import Landscape, sample_scene
from pixart_cli.diffusion.posters.seeing import (
    Array,
    Mask,
    Piece,
    from_sky_to_land,
    skyline,
    small_pieces,
    to_lab,
)
from pixart_cli.diffusion.posters.vocabulary import LANDS, OF_LANDSCAPES, ON_THE_LAND

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PER_LAND = 150
_BLUR, _GRAIN, _GRAIN_SIDE = (0.6, 1.6), (2.0, 8.0), 4
_SURE = 0.35  # of an outline's distance: nearer ones are what they look like
_MARGIN = 4  # pixels around a thing where its edges blur
_TONES = (-9.0, 0.6, 0.75, 0.9)  # from sky (0) to land (1)
_ON_THE_WAY = 12.0  # Lab units from the line between the two


@dataclass(frozen=True)
class View:
    """A land without what stands on it: smoothed `pixels` (H, W, 3), its `edge` against the sky as a share of
    the height per column, the columns where it is seen and not guessed, and the pixels of the land itself.
    """

    pixels: Array
    edge: NDArray[np.float64]
    seen: Mask
    land: Mask


def view_of(pixels: Array, things: Sequence[Piece]) -> View:
    """The land of a picture in Lab (H, W, 3) behind its small pieces, where its edge goes straight on."""
    height, width = pixels.shape[:2]
    hidden, covered = np.zeros(width, dtype=bool), np.zeros((height, width), dtype=bool)
    pixels = _smoothed(_smoothed(pixels))
    edge = skyline(pixels).astype(np.float64)
    for top, bottom, left, right in _standing(things):
        across = slice(max(0, left - _MARGIN), right + _MARGIN)
        covered[max(0, top - _MARGIN) : bottom + _MARGIN, across] = True
        hidden[across] |= edge[across] * height >= top - _MARGIN
    if hidden.mean() > 0.8:
        hidden[:] = False
    columns = np.arange(width)
    edge[hidden] = np.interp(columns[hidden], columns[~hidden], edge[~hidden])
    below = np.arange(height)[:, None] >= (edge * height + 2)[None, :]
    return View(pixels, edge, ~hidden, below & ~covered)


def _standing(things: Sequence[Piece]) -> list[tuple[int, int, int, int]]:
    """Boxes of what surely stands on the land."""
    looks = [(thing.box, *kind_of_outline(thing.outline, OF_LANDSCAPES)) for thing in things if thing.y > 0.3]
    return [box for box, kind, distance in looks if kind in ON_THE_LAND and distance < _SURE]


def land_features(pixels: Array, things: Sequence[Piece]) -> NDArray[np.float64]:
    """Numbers that tell lands apart: the skyline's shape, tones below it, and which way edges run there."""
    view = view_of(pixels, things)
    return np.array([*_shape(view), *_edges(view), *_tones(view)], dtype=np.float64)


def _shape(view: View) -> list[float]:
    height, width = view.pixels.shape[:2]
    line = view.edge * height / min(height, width)
    step = np.diff(line)
    pairs = view.seen[1:] & view.seen[:-1]
    triples = pairs[1:] & pairs[:-1]
    bend, turned = np.abs(np.diff(step))[triples], (np.sign(step[1:]) * np.sign(step[:-1]) < 0)[triples]
    step = step[pairs]
    size = np.abs(step)
    return [
        line[view.seen].std(), size.mean(), size.max(), bend.mean(), (size < 1e-4).mean(),
        np.percentile(size, 90), turned.mean(), (step > 0.002).mean() - (step < -0.002).mean(),
        (step**3).mean() * 1e3,
    ]  # fmt: skip


def _edges(view: View) -> list[float]:
    """How strong edges below the skyline are, and the shares of eight directions."""
    gy, gx = np.gradient(view.pixels[..., 0])
    angle = (np.arctan2(gy, gx) % np.pi) / np.pi
    weights = np.hypot(gx, gy) * view.land
    histogram = np.histogram(angle, bins=8, range=(0, 1), weights=weights)[0]
    total = histogram.sum()
    return [total / max(1, view.land.sum()) / 5.0, *(histogram / max(1e-6, total))]


def _tones(view: View) -> list[float]:
    """Shares of the land that is hazy, in three tones between sky and land, and of what is neither's."""
    sky, way, share = from_sky_to_land(view.pixels)
    away = np.linalg.norm(view.pixels - sky - share.clip(0, 1)[..., None] * way, axis=-1)
    near, total = view.land & (away < _ON_THE_WAY), max(1, view.land.sum())
    hazy = [(near & (share > a) & (share <= b)).sum() for a, b in pairwise(_TONES)]
    return [float(count / total) for count in (*hazy, (view.land & (away >= _ON_THE_WAY)).sum())]


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
            pixels = to_lab(seen)
            rows.append(land_features(pixels, small_pieces(pixels)))
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


def kind_of_land(pixels: Array, things: Sequence[Piece]) -> str:
    """The land that a picture in Lab (H, W, 3) shows behind its small pieces."""
    mean, scale, projection = _land_model()
    row = _expand(((land_features(pixels, things) - mean) / scale)[None])
    return LANDS[int((row @ projection).argmax())]
