"""Pixels to things: the ink of each pixel, connected pieces of one ink, and the line between land and sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixart_cli.diffusion.posters.palette import lab
from pixart_cli.diffusion.posters.vocabulary import COLOURS

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

INKS = tuple(COLOURS)
_INK_LAB = np.array([lab(rgb) for rgb in COLOURS.values()], dtype=np.float32)
_BYTES = np.arange(256, dtype=np.float32) / 255.0
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)
MASK_SIDE = 16
_WHOLE = (1.0, 99.0)  # percent of a piece; what sticks out beyond at an end is a splinter
GROUND = 0.35  # of the square of the shorter side: a piece that large is no thing


def to_lab(picture: Image.Image) -> Array:
    """CIE L*a*b* (D65) of an RGB picture, (H, W, 3)."""
    linear = _LINEAR[np.asarray(picture.convert("RGB"))]
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=np.float32
    )
    xyz = linear @ to_xyz.T
    xyz /= np.array([0.95047, 1.0, 1.08883], dtype=np.float32)
    f, dark = np.cbrt(xyz), xyz <= 0.008856
    f[dark] = 7.787 * xyz[dark] + 16.0 / 116.0
    out: Array = np.empty_like(f)
    out[..., 0] = 116 * f[..., 1] - 16
    out[..., 1] = 500 * (f[..., 0] - f[..., 1])
    out[..., 2] = 200 * (f[..., 1] - f[..., 2])
    return out


def ink_map(pixels: Array) -> NDArray[np.intp]:
    """The index into INKS of the nearest ink, (H, W), for (H, W, 3) Lab."""
    planes = [np.ascontiguousarray(pixels[..., channel]) for channel in range(3)]
    nearest = np.zeros(pixels.shape[:-1], dtype=np.intp)
    least = np.full(pixels.shape[:-1], np.inf, dtype=np.float32)
    for index, ink in enumerate(_INK_LAB):  # one by one: a table of all fits no processor's cache
        light, a, b = ((plane - value) ** 2 for plane, value in zip(planes, ink, strict=True))
        distance = light + a + b
        nearer = distance < least
        nearest[nearer] = index
        np.minimum(least, distance, out=least)
    return nearest


def ink_of_region(pixels: Array) -> str:
    """The name of the median colour of a region, any shape ending in 3."""
    median = np.median(pixels.reshape(-1, 3), axis=0)
    return INKS[int(((median - _INK_LAB) ** 2).sum(axis=-1).argmin())]


@dataclass(frozen=True)
class Piece:
    """A connected piece of one ink: its share of min(W, H)², centre (x, y in 0..1) and outline, 16 x 16.

    `box` is its top, bottom, left and right, in pixels, the ends outside.
    """

    ink: str
    area: float
    x: float
    y: float
    outline: Array
    box: tuple[int, int, int, int]


def pieces(pixels: Array, *, least: float = 0.0035) -> list[Piece]:
    """All connected pieces of any ink with at least `least` of the square of the shorter side."""
    inks = ink_map(pixels)
    height, width = inks.shape
    unit = float(min(height, width)) ** 2
    found: list[Piece] = []
    pixels_of = np.bincount(inks.ravel(), minlength=len(INKS))
    for index in np.flatnonzero(pixels_of >= least * unit):
        labels = _label(inks == index)
        sizes = np.bincount(labels.ravel())
        large = [label for label in np.flatnonzero(sizes >= least * unit) if label]
        found += [_piece(labels == label, INKS[int(index)], unit) for label in large]
    return found


def small_pieces(pixels: Array) -> list[Piece]:
    """The pieces that are no ground: things, and what is left of others."""
    return [piece for piece in pieces(pixels) if piece.area < GROUND]


def _piece(mask: Mask, ink: str, unit: float) -> Piece:
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    return Piece(
        ink=ink,
        area=len(xs) / unit,
        x=(xs.mean() + 0.5) / width,
        y=(ys.mean() + 0.5) / height,
        outline=outline(mask),
        box=(int(ys.min()), int(ys.max()) + 1, int(xs.min()), int(xs.max()) + 1),
    )


def outline(mask: Mask) -> Array:
    """The mask's bounding box but for splinters, centred on a square, as 16 x 16 coverages."""
    top, bottom, left, right = (int(end) for axis in np.nonzero(mask) for end in np.percentile(axis, _WHOLE))
    box = mask[top : bottom + 1, left : right + 1]
    side = max(box.shape)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    square[top : top + box.shape[0], left : left + box.shape[1]] = box * np.uint8(255)
    small = Image.fromarray(square).resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0


def _label(mask: Mask) -> NDArray[np.intp]:
    """Connected components (4 neighbours) by runs and union-find; 0 is outside the mask."""
    labels = np.zeros(mask.shape, dtype=np.intp)
    parent = [0]
    above: list[tuple[int, int, int]] = []
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
        runs = []
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            touching = [_root(parent, k) for a, b, k in above if a < stop and b > start]
            label = min(touching) if touching else len(parent)
            if not touching:
                parent.append(label)
            for other in touching:
                parent[other] = label
            runs.append((start, stop, label))
            labels[y, start:stop] = label
        above = runs
    roots = np.array([_root(parent, k) for k in range(len(parent))])
    return roots[labels]


def _root(parent: list[int], k: int) -> int:
    while parent[k] != k:
        k = parent[k]
    return k


def from_sky_to_land(pixels: Array) -> tuple[Array, Array, Array]:
    """The sky's colour (3,), the way from it to the land's (3,), and how far along that each pixel is (H, W).

    The sky's is the median of the top eighth, the land's of the bottom tenth.
    """
    height = len(pixels)
    bands = pixels[: max(2, height // 8)], pixels[-max(2, height // 10) :]
    sky, land = (np.median(band.reshape(-1, 3), axis=0) for band in bands)
    way = land - sky
    share = (pixels - sky) @ way / max(1e-6, float(way @ way))
    return sky, way, np.asarray(share, dtype=np.float32)


def skyline(pixels: Array) -> Array:
    """Per column the row, as a share of the height, that best parts sky above from land below, (W,)."""
    share = from_sky_to_land(pixels)[2]
    # Land below a row and sky above it count for the row: the best is that with least land above it.
    is_land = np.where(share > 0.4, 1, -1).astype(np.int32)
    above = np.zeros_like(is_land)
    np.cumsum(is_land[:-1], axis=0, out=above[1:])
    return np.asarray(above.argmin(axis=0) / len(pixels), dtype=np.float32)
