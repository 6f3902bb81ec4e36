"""Pixels in, a zlib stream out: exact to every decoder, the same each time, and as small as it should be."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
import png as pypng
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixart_cli.core import scanlines
from pixart_cli.core.png import encode
from pixart_cli.core.scanlines import deflated

RNG = np.random.default_rng


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return RNG(seed).integers(0, 256, (height, width, 3), np.uint8)


def flat(height: int, width: int) -> np.ndarray:
    pixels = np.full((height, width, 3), (200, 30, 30), np.uint8)
    pixels[height // 2 :] = 20, 30, 120
    return pixels


def soft(height: int, width: int) -> np.ndarray:
    """A gradient with noise of one step: what a decoder leaves on a plain sky."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([60 + 120 * y / height, 200 - 80 * x / width, 90 + 60 * (x + y) / (width + height)], -1)
    return (smooth + RNG(1).integers(-1, 2, smooth.shape)).astype(np.uint8)


def mixed(height: int, width: int) -> np.ndarray:
    pixels = flat(height, width)
    pixels[height // 3 : height // 2] = noise(height // 2 - height // 3, width)
    return pixels


PICTURES = {"noise": noise, "flat": flat, "soft": soft, "mixed": mixed}


def read_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def read_by_pypng(data: bytes) -> np.ndarray:
    width, height, rows, info = pypng.Reader(bytes=data).read()
    assert (info["bitdepth"], info["planes"], info["greyscale"], info["alpha"]) == (8, 3, False, False)
    return np.array([list(row) for row in rows], np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("band", [1, 700, 1 << 20])
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (9, 1), (64, 48), (37, 53)])
def test_every_decoder_reads_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch,
    picture: Callable[[int, int], np.ndarray],
    width: int,
    height: int,
    band: int,
) -> None:
    monkeypatch.setattr(scanlines, "BAND", band)
    pixels = picture(height, width)
    data = encode(Image.fromarray(pixels), [("Title", "é")], dpi=150)
    assert np.array_equal(read_by_pillow(data), pixels)
    assert np.array_equal(read_by_pypng(data), pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([2, 4, 256]))
def test_any_picture_comes_back(width: int, height: int, seed: int, colours: int) -> None:
    pixels = RNG(seed).integers(0, colours, (height, width, 3), np.uint8)
    assert np.array_equal(read_by_pillow(encode(Image.fromarray(pixels), [], dpi=None)), pixels)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_each_filter_is_undone_by_others(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    monkeypatch.setattr(scanlines, "_best_way", lambda rows, above: (kind, 0))
    monkeypatch.setattr(scanlines, "BAND", 5 * 91)
    pixels = noise(23, 30)
    lines = zlib.decompress(b"".join(deflated(Image.fromarray(pixels))))
    assert set(lines[:: 1 + 3 * 30]) == {kind}
    data = encode(Image.fromarray(pixels), [], dpi=None)
    assert np.array_equal(read_by_pillow(data), pixels)
    assert np.array_equal(read_by_pypng(data), pixels)


def test_the_stream_is_whole_and_checked_across_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanlines, "BAND", 10_000)
    pieces = deflated(Image.fromarray(soft(300, 200)))
    assert len(pieces) == 19
    worker = zlib.decompressobj()  # checks the Adler-32 at the end
    lines = worker.decompress(b"".join(pieces))
    assert worker.eof
    assert worker.unused_data == b""
    assert len(lines) == 300 * 601


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_checksums_are_joined_as_if_read_in_one(first: bytes, second: bytes) -> None:
    joined = scanlines._joined(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


def test_checksums_of_bands_with_the_largest_sums_are_joined() -> None:
    band = b"\xff" * (1 << 20)
    checksum = 1
    for _ in range(5):
        checksum = scanlines._joined(checksum, zlib.adler32(band), len(band))
    assert checksum == zlib.adler32(band * 5)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_same_picture_same_bytes_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(scanlines, "BAND", 5_000)
    pixels = mixed(120, 100)
    expected = deflated(Image.fromarray(pixels))
    monkeypatch.setattr(scanlines, "_MAX_THREADS", threads)
    monkeypatch.setattr(scanlines.os, "cpu_count", lambda: threads)
    assert [deflated(Image.fromarray(pixels.copy())) for _ in range(3)] == [expected] * 3


@pytest.mark.parametrize(
    ("picture", "most"), [(noise, 1.01), (soft, 0.36), (flat, 0.002)], ids=["noise", "soft", "flat"]
)
def test_each_kind_of_picture_is_as_small_as_it_should_be(
    picture: Callable[[int, int], np.ndarray], most: float
) -> None:
    """Of its bytes noise has nothing to save, noise of one step about two thirds, flat colours nearly all."""
    pixels = picture(600, 800)
    assert sum(map(len, deflated(Image.fromarray(pixels)))) <= most * pixels.size


@pytest.mark.parametrize("picture", [soft, flat, mixed], ids=["soft", "flat", "mixed"])
def test_no_kind_is_more_than_15_percent_larger_than_by_pillow(
    picture: Callable[[int, int], np.ndarray],
) -> None:
    image = Image.fromarray(picture(1200, 1600))
    pillow = io.BytesIO()
    image.save(pillow, "PNG")
    assert len(encode(image, [], dpi=None)) <= 1.15 * len(pillow.getvalue())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_a_picture_of_another_mode_is_our_bug(mode: str) -> None:
    with pytest.raises(ValueError, match=f"not an RGB picture: {mode}"):
        deflated(Image.new(mode, (2, 2)))


def test_a_picture_still_in_its_file_is_read_first() -> None:
    file = io.BytesIO()
    Image.fromarray(soft(90, 80)).save(file, "PNG")
    with Image.open(file) as image:
        assert deflated(image) == deflated(Image.fromarray(soft(90, 80)))


def test_a_fault_in_one_band_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> tuple[int, int]:
        raise MemoryError

    monkeypatch.setattr(scanlines, "_best_way", fail)
    with pytest.raises(MemoryError):
        deflated(Image.fromarray(soft(90, 80)))
