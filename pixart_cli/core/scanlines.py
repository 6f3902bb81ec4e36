"""The pixels of a PNG: rows filtered and deflated, in bands that know nothing of each other.

Source: PNG specification, third edition (W3C 2025), sections 9 and 10; RFC 1950 for the stream around them.
docs/decisions/0010 says why Pillow does not do this, and where the numbers are from.

L is the bytes of a row, 3 a pixel; B the rows of a band.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

BAND: Final = 1 << 20  # bytes
_SUB, _UP, _AVERAGE = 1, 2, 3
_TRIED: Final = 32  # one row in so many is tried every way
_LEVEL: Final = 5
_MAX_THREADS: Final = 8
_ZLIB_HEADER: Final = b"\x78\x5e"
_PRIME: Final = 65521


def deflated(image: Image) -> list[bytes]:
    """The zlib stream of the RGB picture `image`, in pieces of a band each; equal pictures give equal bytes.

    Beside the result no more is held at once than some bands.

    Raises:
        ValueError: for a picture of another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"not an RGB picture: {image.mode}")
    from concurrent.futures import ThreadPoolExecutor

    image.load()  # the threads must find it loaded
    step = max(1, BAND // (3 * image.width + 1))
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        bands = list(pool.map(lambda top: _band(image, top, step), range(0, image.height, step)))
    checksum = 1
    for _, of_band, length in bands:
        checksum = _joined(checksum, of_band, length)
    pieces = [piece for piece, _, _ in bands]
    pieces[0] = _ZLIB_HEADER + pieces[0]
    pieces[-1] += checksum.to_bytes(4, "big")
    return pieces


def _joined(first: int, second: int, length: int) -> int:
    """The Adler-32 of two texts, from that of each and the length of the second."""
    low = first % 65536 + second % 65536 - 1
    high = (first >> 16) + (second >> 16) + length * (first % 65536 - 1)
    return high % _PRIME << 16 | low % _PRIME


def _band(image: Image, top: int, step: int) -> tuple[bytes, int, int]:
    """The rows from `top` as a piece of a deflate stream; Adler-32 and length of what it unpacks to."""
    from zlib_ng import zlib_ng

    bottom = min(top + step, image.height)
    rows, above = _rows(image, top, bottom)
    kind, strategy = _best_way(rows, above)
    lines = _filtered(kind, rows, above)
    end = zlib_ng.Z_FINISH if bottom == image.height else zlib_ng.Z_SYNC_FLUSH
    return _deflated(lines, strategy, end), zlib_ng.adler32(lines), lines.size


def _rows(image: Image, top: int, bottom: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rows `top` to `bottom`, and for each the row above it; both (B, L). Above the first is nothing: 0."""
    import numpy as np

    start = max(top - 1, 0)
    pixels = np.asarray(image.crop((0, start, image.width, bottom))).reshape(bottom - start, -1)
    if not top:
        pixels = np.concatenate([np.zeros_like(pixels[:1]), pixels])
    return pixels[1:], pixels[:-1]


def _best_way(rows: NDArray[np.uint8], above: NDArray[np.uint8]) -> tuple[int, int]:
    """The filter and the strategy of deflate that make the middle of a band smallest.

    Flat colours want repetitions to be found. In noise there are none but by accident, and pointing at
    those takes long and more room than Huffman's code of the bytes alone.
    """
    from zlib_ng import zlib_ng

    count = max(1, len(rows) // _TRIED)
    start = (len(rows) - count) // 2
    middle = slice(start, start + count)
    sizes = {}
    for kind in (_SUB, _UP, _AVERAGE):
        lines = _filtered(kind, rows[middle], above[middle])
        for strategy in (zlib_ng.Z_DEFAULT_STRATEGY, zlib_ng.Z_HUFFMAN_ONLY):
            sizes[kind, strategy] = len(_deflated(lines, strategy, zlib_ng.Z_SYNC_FLUSH))
    return min(sizes, key=lambda way: sizes[way])


def _filtered(kind: int, rows: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`kind` and then the filtered bytes of each row: (B, 1 + L); section 9.2."""
    import numpy as np

    lines = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = kind
    left, up = rows[:, :-3], above[:, 3:]  # of all pixels but the first, which has nothing to its left
    if kind == _UP:
        np.subtract(rows, above, out=lines[:, 1:])
    elif kind == _SUB:
        lines[:, 1:4] = rows[:, :3]
        np.subtract(rows[:, 3:], left, out=lines[:, 4:])
    else:
        mean = left ^ up  # (left + up) // 2 without leaving eight bits: what they share, and half of what not
        mean >>= 1
        mean += left & up
        lines[:, 1:4] = rows[:, :3] - (above[:, :3] >> 1)
        np.subtract(rows[:, 3:], mean, out=lines[:, 4:])
    return lines


def _deflated(lines: NDArray[np.uint8], strategy: int, end: int) -> bytes:
    from zlib_ng import zlib_ng

    worker = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -15, 9, strategy)
    return worker.compress(lines) + worker.flush(end)
