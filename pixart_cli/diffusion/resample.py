"""Native picture → delivered size: Lanczos from the decoded float32 pixels, cropped least, rounded once.

Enlarging works on the sRGB-encoded values, where overshoot at an edge is equally visible on both sides;
reducing works in linear light, so that fine detail keeps its brightness. Enlarged many times, Lanczos
draws a bright rim around every edge: values are held between the least and the greatest of the native
pixels around them. The picture is made in bands
of rows, so memory beyond the finished 8-bit picture stays small at any size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats: TypeAlias = NDArray[np.float32]
_BAND_PIXELS = 1 << 22
_MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a native picture covers the delivered size.

    `factor` is delivered pixels per native pixel; `box` the (left, top, right, bottom) of the native
    picture that is kept; `method` in words.
    """

    factor: float
    box: tuple[float, float, float, float]
    method: str

    def to_dict(self) -> dict[str, Any]:
        """For the record of a picture."""
        box = [round(edge, 3) for edge in self.box]
        return {"method": self.method, "factor": round(self.factor, 6), "box": box}


def fit(native: tuple[int, int], delivered: tuple[int, int]) -> Fit:
    """The least enlargement of `native` (width, height) that covers `delivered`, and the centred crop."""
    factor = max(delivered[0] / native[0], delivered[1] / native[1])
    kept = [min(want / factor, have) for want, have in zip(delivered, native, strict=True)]
    left, top = ((have - keep) / 2 for have, keep in zip(native, kept, strict=True))
    if native == delivered:
        method = "none"
    elif factor < 1:
        method = "lanczos3, linear light"
    elif factor > 1:
        method = "lanczos3 without ringing, sRGB, ordered dither"
    else:
        method = "crop"
    return Fit(factor=factor, box=(left, top, left + kept[0], top + kept[1]), method=method)


def resample(
    pixels: Floats, width: int, height: int, *, on_band: Callable[[int, int], None] = lambda _done, _of: None
) -> tuple[Image.Image, Fit]:
    """`pixels` (H, W, 3) of sRGB-encoded values in [0, 1] as a picture of `width` x `height`.

    Where the size is the same the values are only rounded. Enlarged pictures are dithered by one 8-bit
    step: between two native pixels lie so many delivered ones that rounding alone would draw contours.
    `on_band` is told (done, total).
    """
    plan = fit((pixels.shape[1], pixels.shape[0]), (width, height))
    if plan.method == "none":
        return Image.fromarray(_rounded(pixels)), plan
    source = _to_linear(pixels) if plan.factor < 1 else pixels
    result = np.empty((height, width, 3), np.uint8)
    bands = list(_bands(width, height))
    with ThreadPoolExecutor(_threads(3)) as pool:
        planes = list(pool.map(lambda channel: _plane(source[..., channel], plan), range(3)))
        for done, (top, bottom) in enumerate(bands, start=1):
            rows = pool.map(partial(_rows, plan=plan, size=(width, height), top=top, bottom=bottom), planes)
            band = np.stack(list(rows), axis=-1)
            if plan.factor < 1:
                band = _to_srgb(band)
            noise = _threshold(width, top, bottom) if plan.factor > 1 else np.float32(0.5)
            result[top:bottom] = np.clip(band * 255 + noise, 0, 255).astype(np.uint8)
            on_band(done, len(bands))
    return Image.fromarray(result), plan


def _rounded(pixels: Floats) -> NDArray[np.uint8]:
    """`pixels` (H, W, 3) in 8 bits."""
    result = np.empty(pixels.shape, np.uint8)

    def draw(band: tuple[int, int]) -> None:
        rows = slice(*band)
        result[rows] = np.rint(pixels[rows] * 255)

    with ThreadPoolExecutor(_threads(_MAX_THREADS)) as pool:
        list(pool.map(draw, _bands(8 * pixels.shape[1], len(pixels))))
    return result


def enlarge(pixels: Floats, width: int, height: int) -> Floats:
    """`pixels` (H, W, 3) in [0, 1] covering `width` x `height`, cropped least, in floats and undithered."""
    plan = fit((pixels.shape[1], pixels.shape[0]), (width, height))
    result = np.empty((height, width, 3), np.float32)

    def draw(job: tuple[tuple[int, int], int]) -> None:
        (top, bottom), channel = job
        rows = _rows(planes[channel], plan=plan, size=(width, height), top=top, bottom=bottom)
        result[top:bottom, :, channel] = rows

    with ThreadPoolExecutor(_threads(_MAX_THREADS)) as pool:
        planes = list(pool.map(lambda channel: _plane(pixels[..., channel], plan), range(3)))
        list(pool.map(draw, product(_bands(width, height), range(3))))
    return result


def cut(pixels: Floats, width: int, height: int) -> Floats:
    """The middle `width` x `height` of `pixels` (H, W, 3), pixel for pixel."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


@dataclass(frozen=True)
class _Plane:
    """One channel; and the least and greatest values around each of its pixels, where it is enlarged."""

    values: Image.Image
    extremes: tuple[Image.Image, ...] = ()


def _plane(values: Floats, plan: Fit) -> _Plane:
    own = np.ascontiguousarray(values)
    around = [_around(own, extreme) for extreme in (np.minimum, np.maximum)] if plan.factor > 1 else []
    return _Plane(Image.fromarray(own), tuple(Image.fromarray(each) for each in around))


def _around(values: Floats, extreme: np.ufunc) -> Floats:
    """The `extreme` of the 3x3 pixels around each."""
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        first, middle, last = (
            padded[start : start + len(values)] if axis == 0 else padded[:, start : start + values.shape[1]]
            for start in range(3)
        )
        values = extreme(extreme(first, middle), last)
    return values


def _rows(plane: _Plane, *, plan: Fit, size: tuple[int, int], top: int, bottom: int) -> Floats:
    """Rows `top` to `bottom` of the delivered plane; the filter reads beyond its box, so bands join."""
    left, upper, right, lower = plan.box
    scale = (lower - upper) / size[1]
    box = (left, upper + top * scale, right, min(upper + bottom * scale, plane.values.height))

    def resized(source: Image.Image, method: Image.Resampling) -> Floats:
        return np.asarray(source.resize((size[0], bottom - top), method, box=box), np.float32)

    rows = resized(plane.values, Image.Resampling.LANCZOS)
    if plane.extremes:
        least, greatest = (resized(extreme, Image.Resampling.BILINEAR) for extreme in plane.extremes)
        rows = np.clip(rows, least, greatest)
    return np.clip(rows, 0, 1)


def _threads(most: int) -> int:
    """How many to use: Pillow and numpy let others work while they do."""
    return min(most, os.cpu_count() or 1)


def _threshold(width: int, top: int, bottom: int) -> Floats:
    """Rounding thresholds in (0, 1), (rows, width, 1): fixed by the place, fine, with no visible grid.

    Interleaved gradient noise of Jimenez (2014), "Next Generation Post Processing in Call of Duty".
    """
    x = np.arange(width, dtype=np.float64)[None]
    y = np.arange(top, bottom, dtype=np.float64)[:, None]
    noise = (52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1)) % 1
    return noise.astype(np.float32)[..., None]


def _to_linear(values: Floats) -> Floats:
    """IEC 61966-2-1, encoded → linear."""
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _to_srgb(values: Floats) -> Floats:
    """IEC 61966-2-1, linear → encoded."""
    encoded = np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)
