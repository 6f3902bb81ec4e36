from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pixart_cli.core import png
from pixart_cli.core.errors import PixartError

KEYS = st.from_regex(r"[!-~]([ -~]{0,77}[!-~])?", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
MIB = 1 << 20


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def header(width: int = 3, height: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


IDAT = chunk(b"IDAT", b"not looked at")
IEND = chunk(b"IEND", b"")


def made(*chunks: bytes) -> bytes:
    return png.SIGNATURE + b"".join(chunks)


def read(tmp_path: Path, data: bytes) -> png.PngText:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    return png.read_text(path)


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(PixartError) as caught:
        read(tmp_path, data)
    assert caught.value.code == "image-invalid"
    assert caught.value.hint
    return caught.value.message


def kinds(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 8])
        at += 12 + length
    return found


# ── writing ──


@given(st.dictionaries(KEYS, TEXT, max_size=4))
def test_texts_written_are_read_back_by_us_and_by_pillow(tmp_path_factory, texts: dict[str, str]) -> None:
    data = png.encode(Image.new("RGB", (3, 2)), list(texts.items()), dpi=None)
    found = read(tmp_path_factory.mktemp("png"), data)
    assert (found.width, found.height, found.texts, found.dpi) == (3, 2, texts, None)
    with Image.open(io.BytesIO(data)) as image:
        assert image.text == texts


@pytest.mark.parametrize("dpi", [72.0, 96.0, 150.0, 299.5, 300.0, 1200.0])
def test_dpi_is_read_back(tmp_path: Path, dpi: float) -> None:
    assert read(tmp_path, png.encode(Image.new("RGB", (1, 1)), [], dpi=dpi)).dpi == dpi


def test_chunks_are_those_of_an_srgb_picture_with_its_texts_first() -> None:
    image = Image.new("RGB", (4, 4), "red")
    image.info |= {"icc_profile": b"stale", "transparency": (1, 2, 3), "dpi": (1, 1)}
    data = png.encode(image, [("Title", "a"), ("Description", "é"), ("XML:com.adobe.xmp", "<x/>")], dpi=300)
    assert kinds(data) == [b"IHDR", b"sRGB", b"tEXt", b"iTXt", b"iTXt", b"pHYs", b"IDAT", b"IEND"]
    with Image.open(io.BytesIO(data)) as back:
        assert back.info["srgb"] == 0
        assert back.tobytes() == image.tobytes()


def test_same_input_same_bytes() -> None:
    image = Image.effect_noise((32, 32), 50).convert("RGB")
    texts = [("Title", "sun"), ("Software", "pixart")]
    assert png.encode(image, texts, dpi=150) == png.encode(image.copy(), texts, dpi=150)


@pytest.mark.parametrize(
    "texts",
    [
        [("Title", "x" * (MIB + 1))],
        [("Title", "é" * (MIB // 2 + 1))],
        [(f"k{n}", "x" * MIB) for n in range(9)],
    ],
)
def test_texts_that_no_reader_would_take_are_refused(texts: list[tuple[str, str]]) -> None:
    with pytest.raises(PixartError, match="metadata") as caught:
        png.encode(Image.new("RGB", (1, 1)), texts, dpi=None)
    assert caught.value.code == "request-invalid"


def test_the_longest_text_is_read_back(tmp_path: Path) -> None:
    text = "é" * (MIB // 2)
    assert read(tmp_path, png.encode(Image.new("RGB", (1, 1)), [("k" * 79, text)], dpi=None)).texts == {
        "k" * 79: text
    }


@pytest.mark.parametrize("key", ["", "k" * 80, " k", "k ", "a\0b", "clé"])
def test_keywords_outside_the_standard_are_our_bug(key: str) -> None:
    with pytest.raises(ValueError, match="keyword"):
        png.encode(Image.new("RGB", (1, 1)), [(key, "x")], dpi=None)


# ── reading what others wrote ──


def test_every_kind_of_text_chunk_is_read(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("plain", "caf\xe9")
    info.add_text("packed", "caf\xe9", zip=True)
    info.add_itxt("wide", "漢字", "zh", "x")
    info.add_itxt("wide packed", "漢字", zip=True)
    Image.new("RGB", (5, 4)).save(tmp_path / "p.png", pnginfo=info)
    found = png.read_text(tmp_path / "p.png")
    assert found.texts == {"plain": "café", "packed": "café", "wide": "漢字", "wide packed": "漢字"}


def test_texts_after_the_pixels_count_and_the_last_of_a_name_wins(tmp_path: Path) -> None:
    data = made(header(), chunk(b"tEXt", b"k\0old"), IDAT, chunk(b"tEXt", b"k\0new"), IEND)
    assert read(tmp_path, data + b"trailing").texts == {"k": "new"}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"tEXt", b"no end"),
        (b"tEXt", b"\0no keyword"),
        (b"tEXt", b"k" * 80 + b"\0x"),
        (b"zTXt", b"k\0"),
        (b"zTXt", b"k\0\1method"),
        (b"zTXt", b"k\0\0not zlib"),
        (b"zTXt", b"k\0\0" + zlib.compress(b"x" * 999)[:-5]),
        (b"iTXt", b"k\0\0\0no language end"),
        (b"iTXt", b"k\0\2\0\0\0x"),
        (b"iTXt", b"k\0\1\0\0\0not zlib"),
    ],
)
def test_malformed_text_chunks_are_passed_over(tmp_path: Path, kind: bytes, data: bytes) -> None:
    found = read(tmp_path, made(header(), chunk(kind, data), chunk(b"tEXt", b"ok\0yes"), IDAT, IEND))
    assert found.texts == {"ok": "yes"}


def test_bad_utf8_is_replaced(tmp_path: Path) -> None:
    data = made(header(), chunk(b"iTXt", b"k\0\0\0\0\0a\xffb"), IDAT, IEND)
    assert read(tmp_path, data).texts == {"k": "a\ufffdb"}


@pytest.mark.parametrize(
    ("across", "down", "unit", "dpi"),
    [
        (11811, 11811, 1, 300.0),
        (3780, 3780, 1, 96.0),
        (1, 1, 1, None),
        (4, 3, 1, None),
        (4, 4, 0, None),
        (0, 0, 1, None),
    ],
)
def test_dpi_of_others(tmp_path: Path, across: int, down: int, unit: int, dpi: float | None) -> None:
    data = made(header(), chunk(b"pHYs", struct.pack(">IIB", across, down, unit)), IDAT, IEND)
    assert read(tmp_path, data).dpi == dpi


def test_a_huge_picture_is_measured_without_being_decoded(tmp_path: Path) -> None:
    found = read(tmp_path, made(header(2**31 - 1, 2**31 - 1), IDAT, IEND))
    assert (found.width, found.height) == (2**31 - 1, 2**31 - 1)


# ── reading what nobody should ──


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a PNG"),
        (b"\xff\xd8\xff\xe0 JPEG", "not a PNG"),
        (png.SIGNATURE, "cut off"),
        (made(header()), "cut off"),
        (made(header(), IEND), "no picture"),
        (made(header(), IDAT), "cut off"),
        (made(header(), IDAT[:-6]), "cut off"),
        (made(header(), IDAT, IEND[:-1]), "cut off"),
        (made(IDAT, header(), IEND), "header"),
        (made(header(0, 5), IDAT, IEND), "size"),
        (made(header(2**31, 5), IDAT, IEND), "size"),
        (made(header(), b"\xff\xff\xff\xffIDAT"), "chunk header"),
        (made(header(), b"\0\0\0\0\0\0\0\0"), "chunk header"),
        (made(header(), chunk(b"tEXt", b"k\0v", crc=1), IDAT, IEND), "checksum in tEXt"),
        (made(chunk(b"IHDR", bytes(13), crc=1), IDAT, IEND), "checksum in IHDR"),
        (made(header(), IDAT, chunk(b"IEND", b"", crc=1)), "checksum in IEND"),
        (made(header(), struct.pack(">I4s", 2**31 - 1, b"tEXt"), IDAT, IEND), "more text"),
    ],
)
def test_damaged_files_are_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(tmp_path, data)


@pytest.mark.parametrize("head", [b"zTXt", b"iTXt"])
def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path, head: bytes) -> None:
    worker = zlib.compressobj(9)
    packed = b"".join(worker.compress(bytes(MIB)) for _ in range(200)) + worker.flush()
    flags = b"\0" if head == b"zTXt" else b"\1\0\0\0"
    assert "more text" in refused(tmp_path, made(header(), chunk(head, b"k\0" + flags + packed), IDAT, IEND))


def test_many_texts_of_the_largest_size_are_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(MIB))
    bombs = [chunk(b"zTXt", b"k%d\0\0" % n + packed) for n in range(80)]
    assert "more text" in refused(tmp_path, made(header(), *bombs, IDAT, IEND))
    malformed = [chunk(b"tEXt", bytes(MIB)) for _ in range(9)]
    assert "more text" in refused(tmp_path, made(header(), *malformed, IDAT, IEND))


def test_endless_chunks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_CHUNKS", 100)
    assert "more than 100 chunks" in refused(
        tmp_path, made(header(), *[chunk(b"abCd", b"")] * 101, IDAT, IEND)
    )


@given(st.binary(max_size=80), st.integers(0, 120))
def test_garbage_is_read_or_refused_but_never_crashes(tmp_path_factory, noise: bytes, at: int) -> None:
    whole = made(header(), chunk(b"zTXt", b"k\0\0" + zlib.compress(b"text")), IDAT, IEND)
    code = "image-invalid"
    try:
        read(tmp_path_factory.mktemp("noise"), whole[:at] + noise + whole[at + len(noise) // 2 :])
    except PixartError as refusal:
        code = refusal.code
    assert code == "image-invalid"


def test_folders_pipes_and_missing_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name in (".", "pipe", "nothing.png", "file/x.png"):
        with pytest.raises(PixartError, match="not") as caught:
            png.read_text(tmp_path / name)
        assert caught.value.code == "image-invalid"


def test_what_the_disk_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(PixartError, match="cannot be read: File name too long") as caught:
        png.read_text(tmp_path / ("x" * 300))
    assert caught.value.code == "disk"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_we_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(made(header(), IDAT, IEND))
    path.chmod(0)
    with pytest.raises(PixartError, match="Permission denied") as caught:
        png.read_text(path)
    assert caught.value.code == "disk"
