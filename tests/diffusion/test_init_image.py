"""Pictures of every kind as sRGB pixels, and those that are none."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pixart_cli.core.errors import PixartError
from pixart_cli.core.png import encode
from pixart_cli.diffusion import init_image
from pixart_cli.diffusion.init_image import (
    NotAPictureError,
    covering,
    picture_of,
    read_init_image,
    read_recorded_image,
)


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def pixels_of(path):
    return np.asarray(read_init_image(path)[1]).astype(int)


def refusal(path):
    with pytest.raises(PixartError) as caught:
        read_init_image(path)
    assert caught.value.hint
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_each_kind_of_file_is_read(suffix, tmp_path):
    path = saved(tmp_path / f"x.{suffix}", Image.new("RGB", (20, 10), (200, 40, 40)), quality=95)
    parent, picture = read_init_image(path)
    assert (picture.mode, picture.size, parent.fingerprint) == ("RGB", (20, 10), None)
    assert parent.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.abs(np.asarray(picture).astype(int) - (200, 40, 40)).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode, tmp_path):
    grey = {"I;16": 0xC8C8, "I": 0xC8C8, "F": 200 / 255}.get(mode, 200)
    if mode in ("I;16", "I", "F"):
        picture = Image.new(mode, (4, 2), grey)
    else:
        picture = Image.new("L", (4, 2), 200).convert("1" if mode == "1" else "RGB").convert(mode)
    path = saved(tmp_path / ("x.tif" if mode in ("CMYK", "F", "I") else "x.png"), picture)
    # Two modes have few colours to choose from.
    expected = np.asarray(picture.convert("RGB")).astype(int) if mode in ("1", "P") else 200
    assert np.abs(pixels_of(path) - expected).max() <= 1


def test_it_is_turned_as_exif_says(tmp_path):
    picture = Image.new("RGB", (4, 2), "white")
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be seen
    found = pixels_of(saved(tmp_path / "x.png", picture, exif=exif))
    assert found.shape == (4, 2, 3)
    assert found[0, 1].tolist() == [255, 0, 0]


def test_what_is_transparent_is_white(tmp_path):
    picture = Image.new("RGBA", (3, 1), (0, 0, 255, 0))
    picture.putpixel((1, 0), (0, 0, 255, 255))
    picture.putpixel((2, 0), (0, 0, 0, 128))
    assert pixels_of(saved(tmp_path / "x.png", picture))[0].tolist() == [
        [255, 255, 255], [0, 0, 255], [127, 127, 127],
    ]  # fmt: skip
    indexed = Image.new("P", (2, 1), 1)
    indexed.putpalette([0, 0, 0, 9, 9, 9])
    indexed.putpixel((0, 0), 0)
    path = saved(tmp_path / "p.png", indexed, transparency=0)
    assert pixels_of(path)[0].tolist() == [[255, 255, 255], [9, 9, 9]]


def linear_profile():
    """An RGB profile of sRGB's colours whose values are linear in light, built from Pillow's own."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    for index in range(count):
        name, offset, size = struct.unpack(">4sII", profile[132 + 12 * index : 144 + 12 * index])
        if name == b"rTRC":
            profile[offset : offset + size] = b"curv" + bytes(size - 4)
    return bytes(profile)


def test_colours_go_through_their_own_profile(tmp_path):
    picture = Image.new("RGB", (2, 1), (55, 55, 55))
    path = saved(tmp_path / "x.png", picture, icc_profile=linear_profile())
    assert pixels_of(path)[0, 0].tolist() == pytest.approx([128, 128, 128], abs=2)
    half = Image.new("RGBA", (2, 1), (55, 55, 55, 0))
    half.putpixel((1, 0), (55, 55, 55, 255))
    found = pixels_of(saved(tmp_path / "y.png", half, icc_profile=linear_profile()))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == pytest.approx([128, 128, 128], abs=2)


@pytest.mark.parametrize("profile", [b"no profile", linear_profile()[:200]], ids=["text", "cut"])
def test_a_broken_profile_is_passed_over(profile, tmp_path):
    path = saved(tmp_path / "x.png", Image.new("RGB", (2, 1), (55, 55, 55)), icc_profile=profile)
    assert pixels_of(path)[0, 0].tolist() == [55, 55, 55]


def test_a_profile_for_other_channels_is_passed_over(tmp_path):
    path = saved(tmp_path / "x.png", Image.new("L", (2, 1), 55), icc_profile=linear_profile())
    assert pixels_of(path)[0, 0].tolist() == [55, 55, 55]


def test_a_picture_of_ours_says_its_fingerprint(tmp_path):
    stub = '{"schema": "pixart.image/1", "fingerprint": "' + "f" * 64 + '"}'
    (tmp_path / "x.png").write_bytes(encode(Image.new("RGB", (2, 2)), [("pixart", stub)], dpi=None))
    assert read_init_image(tmp_path / "x.png")[0].fingerprint == "f" * 64


def test_what_is_not_there_is_missing(tmp_path):
    (tmp_path / "x").touch()
    for path in (tmp_path / "nothing.png", tmp_path / "x" / "nothing.png"):
        error = refusal(path)
        assert (error.code, error.exit_code) == ("init-image-missing", 3)


def png_of_size(width, height):
    """A few bytes that announce a great many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_with_half_an_exif_block():
    data = io.BytesIO()
    Image.new("RGB", (9, 9)).save(data, "PNG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00")
    return data.getvalue()


def cut_jpeg():
    data = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(data, "JPEG")
    return data.getvalue()[:2000]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no picture"),
        (b"no picture at all", "no picture"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "no picture"),
        (b"%PDF-1.4", "no picture"),
        (png_of_size(60_000, 60_000), "60000x60000 pixels"),
        (png_of_size(10_001, 10_000), "10001x10000 pixels"),
        (png_of_size(100, 100), "damaged"),
        (cut_jpeg(), "damaged"),
        (png_with_half_an_exif_block(), "damaged"),
    ],
    ids=["empty", "text", "gif", "pdf", "bomb", "just too large", "rows missing", "cut", "half exif"],
)
def test_what_is_no_picture_is_refused(data, said, tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "x.png").write_bytes(data)
    error = refusal(tmp_path / "x.png")
    assert (error.code, error.exit_code) == ("init-image-invalid", 4)
    assert said in error.message
    assert before == Image.MAX_IMAGE_PIXELS


def test_folders_pipes_and_files_too_long_are_refused_unread(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", Image.new("RGB", (2, 2)))
    monkeypatch.setattr(init_image, "MOST_BYTES", 10)
    assert "larger than" in refusal(path).message
    assert {refusal(each).code for each in (tmp_path, Path("/dev/zero"))} == {"init-image-invalid"}


def test_a_file_that_may_not_be_read_is_the_disks_fault(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", Image.new("RGB", (2, 2)))

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert refusal(path).code == "disk"


def test_a_recorded_picture_is_known_by_its_bytes(tmp_path):
    path = saved(tmp_path / "x.png", Image.new("RGB", (2, 2), "red"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_recorded_image(sha256, path).getpixel((0, 0)) == (255, 0, 0)
    for place, code in ((None, "init-image-missing"), (path, "init-image-invalid")):
        with pytest.raises(PixartError) as caught:
            read_recorded_image("0" * 64, place)
        assert caught.value.code == code


@pytest.mark.parametrize("size", [(64, 64), (40, 24), (300, 200), (64, 20), (1000, 64)])
def test_it_covers_the_size_and_keeps_its_middle(size):
    picture = Image.new("RGB", size, "black")
    width, height = size
    picture.paste("white", (width // 2 - width // 8, 0, width // 2 + width // 8, height))
    found = covering(picture, 64, 48)
    assert (found.shape, found.dtype) == ((48, 64, 3), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - found[:, ::-1]).max() < 0.02
    assert found[24, 32].min() > 0.95


def test_pixels_of_the_size_are_only_divided():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert np.array_equal(
        covering(Image.fromarray(pixels), 8, 6), pixels.astype(np.float32) / np.float32(255)
    )


def test_fine_detail_keeps_its_light_when_it_is_reduced():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    picture = Image.fromarray(np.repeat(checks[..., None], 3, axis=-1).astype(np.uint8))
    assert covering(picture, 32, 32)[16, 16] == pytest.approx([0.735] * 3, abs=0.02)  # half the light


def test_bytes_that_are_no_picture_say_why_and_what_to_do():
    with pytest.raises(NotAPictureError, match="no picture") as caught:
        picture_of(b"text")
    assert "PNG" in caught.value.hint
