"""Native picture → delivered size: exact where it can be, the same in bands, neutral in brightness."""

import numpy as np
import pytest
from PIL import Image

from pixart_cli.diffusion import resample as module
from pixart_cli.diffusion.resample import cut, enlarge, fit, resample


def ramp(width=48, height=32):
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.float32)


def test_same_size_is_only_rounded():
    pixels = ramp()
    image, plan = resample(pixels, 48, 32)
    assert np.array_equal(np.asarray(image), np.rint(pixels * 255).astype(np.uint8))
    assert plan.method == "none"
    assert plan.factor == 1


@pytest.mark.parametrize(
    ("native", "delivered", "factor", "box", "method"),
    [
        (
            (336, 192),
            (3840, 2160),
            3840 / 336,
            (0, 1.5, 336, 190.5),
            "lanczos3 without ringing, sRGB, ordered dither",
        ),
        ((256, 256), (64, 128), 0.5, (64, 0, 192, 256), "lanczos3, linear light"),
        ((256, 256), (128, 256), 1.0, (64, 0, 192, 256), "crop"),
    ],
)
def test_fit_covers_and_crops_the_middle(native, delivered, factor, box, method):
    plan = fit(native, delivered)
    assert plan.factor == pytest.approx(factor)
    assert plan.box == pytest.approx(box)
    assert plan.method == method
    assert set(plan.to_dict()) == {"method", "factor", "box"}


@pytest.mark.parametrize("size", [(96, 64), (131, 47), (24, 16), (7, 50), (48, 31), (1, 1)])
def test_any_size_is_delivered(size):
    image, _ = resample(ramp(), *size)
    assert image.size == size
    assert image.mode == "RGB"


@pytest.mark.parametrize("size", [(200, 150), (20, 15)])
def test_bands_join_without_a_seam(monkeypatch, size):
    pixels = np.random.default_rng(0).random((32, 48, 3), np.float32)
    whole, _ = resample(pixels, *size)
    monkeypatch.setattr(module, "_BAND_PIXELS", size[0] * 7)
    told = []
    banded, _ = resample(pixels, *size, on_band=lambda done, of: told.append((done, of)))
    assert np.abs(np.asarray(whole, int) - np.asarray(banded, int)).max() <= 1
    assert told[-1] == (-(-size[1] // 7),) * 2


def test_enlarging_is_pillows_lanczos_inside():
    pixels = ramp()
    image, _ = resample(pixels, 192, 128)
    planes = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(3)]
    wide = np.stack([np.asarray(p.resize((192, 128), Image.Resampling.LANCZOS)) for p in planes], axis=-1)
    difference = np.abs(np.asarray(image, float) - np.clip(wide, 0, 1) * 255)
    assert difference[16:-16, 16:-16].max() <= 1


def test_enlarged_edges_do_not_ring():
    edge = np.full((16, 16, 3), 0.3, np.float32)
    edge[:, 8:] = 0.7
    image, _ = resample(edge, 160, 160)
    values = np.asarray(image, float) / 255
    assert values.min() >= 0.3 - 1 / 255
    assert values.max() <= 0.7 + 1 / 255
    plain = Image.fromarray(np.ascontiguousarray(edge[..., 0])).resize((160, 160), Image.Resampling.LANCZOS)
    assert np.asarray(plain).max() > 0.72  # which is what is being held back
    assert np.diff(values[80, :, 0]).max() > 0.03  # and the edge is as steep as Lanczos makes it


def test_reducing_keeps_the_light_of_fine_detail():
    checks = np.indices((64, 64)).sum(0) % 2
    image, _ = resample(np.repeat(checks[..., None], 3, axis=-1).astype(np.float32), 16, 16)
    # Half of the light, sRGB-encoded, is 188; averaging encoded values would give 128.
    assert np.abs(np.asarray(image, int)[4:-4, 4:-4] - 188).max() <= 2


def test_dither_keeps_the_mean_and_leaves_black_and_white_alone():
    flat = np.full((8, 8, 3), 100.3 / 255, np.float32)
    values = np.asarray(resample(flat, 256, 256)[0], float)
    assert values.mean() == pytest.approx(100.3, abs=0.02)
    assert set(np.unique(values)) == {100, 101}
    ends = np.asarray(resample(np.repeat([[[0.0] * 3, [1.0] * 3]], 8, 0).astype(np.float32), 64, 256)[0])
    assert set(np.unique(ends[:, :8])) == {0}
    assert set(np.unique(ends[:, -8:])) == {255}


def test_enlarged_gradients_have_no_contours():
    slow = np.broadcast_to(np.linspace(0.5, 0.52, 16, dtype=np.float32)[None, :, None], (16, 16, 3))
    row = np.asarray(resample(np.ascontiguousarray(slow), 1024, 1024)[0], float)[:, :, 0].mean(axis=0)
    steps = np.abs(np.diff(np.convolve(row, np.ones(16) / 16, "valid")))
    assert steps.max() < 0.05  # a contour would be a step of 1 over 16 columns, 0.0625 each


def test_the_same_again_is_the_same():
    first, second = (np.asarray(resample(ramp(), 300, 200)[0]) for _ in range(2))
    assert np.array_equal(first, second)


def test_enlarge_is_what_resample_rounds() -> None:
    pixels = ramp()
    height, width = 2 * pixels.shape[0] + 16, 2 * pixels.shape[1]
    floats = enlarge(pixels, width, height)
    image, _ = resample(pixels, width, height)
    assert floats.shape == (height, width, 3)
    assert np.abs(np.asarray(image) / 255 - floats).max() <= 1 / 255 + 1e-6


def test_cut_takes_the_middle_pixel_for_pixel() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)
    assert np.array_equal(cut(pixels, 4, 3), pixels[1:4, 2:6])
