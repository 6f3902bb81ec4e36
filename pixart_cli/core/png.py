"""PNG files: the texts of any file, read without trusting it; and ours, written.

Source: PNG specification, third edition (W3C 2025), sections 5 and 11. The pixels are in `scanlines`.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from PIL.Image import Image

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_TEXT: Final = 1 << 20
MAX_ALL_TEXT: Final = 8 << 20
MAX_CHUNKS: Final = 1_000_000
MAX_CHUNK_LENGTH: Final = 2**31 - 1
_OVERHEAD: Final = 128  # keyword, flags and language of a text chunk
_TEXT_KINDS: Final = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class PngText:
    """What a PNG says beside its pixels: size in pixels, `texts` by keyword, dots per inch if given."""

    width: int
    height: int
    texts: dict[str, str]
    dpi: float | None = None


def read_text(path: Path) -> PngText:
    """The size, texts and dpi of the PNG at `path`; no pixel is decoded.

    At most 1 MiB a text and 8 MiB in all are ever held, compressed texts included. Of texts with the same
    keyword the last counts, as in Pillow. Malformed text chunks are passed over.

    Raises:
        PixartError: "image-invalid" when there is no file, it is no PNG, damaged, cut off or a text bomb;
            "disk" when it may not or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a folder; or a pipe, which could make us wait for ever
            raise _invalid(str(path), "is not a file", "Name a PNG file.")
        with path.open("rb") as file:
            return _Reader(file, str(path)).read()
    except (FileNotFoundError, NotADirectoryError):
        raise _invalid(str(path), "does not exist", "Check the name.") from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}"
        raise PixartError("disk", what, "Check the file and its permissions.") from error


def read_head(file: BinaryIO, name: str) -> PngText:
    """As :func:`read_text`, for a `file` that is known to be whole: nothing from the pixels on is read."""
    return _Reader(file, name, to_pixels=True).read()


def _invalid(name: str, what: str, hint: str = "The file is damaged; take the original.") -> PixartError:
    return PixartError("image-invalid", f"{name} {what}", hint)


class _Reader:
    """One walk over the chunks of `file`, or over those before its pixels; `name` is for messages."""

    def __init__(self, file: BinaryIO, name: str, *, to_pixels: bool = False) -> None:
        self.file = file
        self.to_pixels = to_pixels
        self.name = name
        self.texts: dict[str, str] = {}
        self.dpi: float | None = None
        self.room = MAX_ALL_TEXT

    def read(self) -> PngText:
        if self.file.read(len(SIGNATURE)) != SIGNATURE:
            raise _invalid(self.name, "is not a PNG", "Name a PNG file.")
        if self._header() != (b"IHDR", 13):
            raise _invalid(self.name, "does not begin with an image header")
        width, height = struct.unpack(">II", self._data(b"IHDR", 13)[:8])
        if not (0 < width <= MAX_CHUNK_LENGTH and 0 < height <= MAX_CHUNK_LENGTH):
            raise _invalid(self.name, f"has an impossible size, {width}x{height}")
        kinds = set(self._walk())
        if b"IDAT" not in kinds:
            raise _invalid(self.name, "holds no picture")
        return PngText(width, height, self.texts, self.dpi)

    def _walk(self) -> Iterator[bytes]:
        for _ in range(MAX_CHUNKS):
            kind, length = self._header()
            yield kind
            if self.to_pixels and kind == b"IDAT":
                return
            if kind in _TEXT_KINDS:
                self._keep(kind, length)
            elif kind == b"pHYs" and length == 9:
                self.dpi = _dpi(self._data(kind, length))
            elif (kind, length) == (b"IEND", 0):
                self._data(kind, length)
                return
            else:
                self.file.seek(length + 4, os.SEEK_CUR)
        raise _invalid(self.name, f"holds more than {MAX_CHUNKS} chunks")

    def _header(self) -> tuple[bytes, int]:
        length, kind = struct.unpack(">I4s", self._exactly(8))
        if length > MAX_CHUNK_LENGTH or not kind.isalpha():
            raise _invalid(self.name, "is damaged: a chunk header makes no sense")
        return kind, length

    def _data(self, kind: bytes, length: int) -> bytes:
        data = self._exactly(length)
        (crc,) = struct.unpack(">I", self._exactly(4))
        if crc != zlib.crc32(kind + data):
            raise _invalid(self.name, f"is damaged: wrong checksum in {kind.decode('ascii')}")
        return data

    def _exactly(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) < length:
            raise _invalid(self.name, "is cut off")
        return data

    def _keep(self, kind: bytes, length: int) -> None:
        if length > MAX_TEXT + _OVERHEAD:
            raise self._bomb()
        data = self._data(kind, length)
        try:
            pair = _decode(kind, data)
        except OverflowError:
            raise self._bomb() from None
        self.room -= max(length, sum(map(len, pair)) if pair else 0)
        if self.room < 0:
            raise self._bomb()
        if pair:
            self.texts[pair[0]] = pair[1]

    def _bomb(self) -> PixartError:
        limits = f"{MAX_TEXT >> 20} MiB each, {MAX_ALL_TEXT >> 20} MiB in all"
        what = f"holds more text than is safe to read ({limits})"
        return _invalid(self.name, what, "Remove its text with another program, or do not trust it.")


def _decode(kind: bytes, data: bytes) -> tuple[str, str] | None:
    """Keyword and text of one chunk; None where it is malformed. OverflowError where it is too long."""
    keyword, end, rest = data.partition(b"\0")
    if not end or not 0 < len(keyword) < 80:
        return None
    text: bytes | None = rest
    if kind == b"zTXt":
        text = _inflate(rest[1:]) if rest[:1] == b"\0" else None
    elif kind == b"iTXt":
        text = _international(rest)
    if text is None:
        return None
    return keyword.decode("latin-1"), text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")


def _international(rest: bytes) -> bytes | None:
    flags, parts = rest[:2], rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) != 3 or flags not in (b"\0\0", b"\1\0"):
        return None
    return _inflate(parts[2]) if flags[0] else parts[2]


def _inflate(data: bytes) -> bytes | None:
    worker = zlib.decompressobj()
    try:
        text = worker.decompress(data, MAX_TEXT + 1)
    except zlib.error:
        return None
    if len(text) > MAX_TEXT:
        raise OverflowError
    return text if worker.eof else None


def _dpi(data: bytes) -> float | None:
    """Dots per inch of a pHYs chunk; None for a mere ratio or oblong pixels."""
    across, down, unit = struct.unpack(">IIB", data)
    if unit != 1 or across != down or not across:
        return None
    # Whole pixels a metre are 0.0254 dpi apart: 300 dpi is stored as 299.9994.
    return round(across * 0.0254, 1) or None


def encode(image: Image, texts: Sequence[tuple[str, str]], *, dpi: float | None) -> bytes:
    """The RGB picture `image` as the bytes of an sRGB PNG, `texts` before its pixels.

    The same input gives the same bytes. What `image.info` says is not written.

    Raises:
        PixartError: "request-invalid" when a text is over 1 MiB or all are over 8 MiB.
        ValueError: for a keyword that is not 1 to 79 printable ASCII characters, or a picture not in RGB.
    """
    from pixart_cli.core.scanlines import deflated

    _check_texts(texts)
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = [(b"IHDR", header), (b"sRGB", b"\0")]  # intent: perceptual
    chunks += [_text(key, text) for key, text in texts]
    if dpi:
        per_metre = round(dpi / 0.0254)
        chunks.append((b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)))
    chunks += [(b"IDAT", piece) for piece in deflated(image)]
    chunks.append((b"IEND", b""))
    return SIGNATURE + b"".join(part for kind, data in chunks for part in _chunk(kind, data))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I4s", len(data), kind), data, struct.pack(">I", checksum)


def _check_texts(texts: Sequence[tuple[str, str]]) -> None:
    sizes = {key: len(text.encode("utf-8")) for key, text in texts}
    for key, size in sizes.items():
        if not re.fullmatch(r"[!-~](?:[ -~]{0,77}[!-~])?", key):
            raise ValueError(f"not a PNG keyword: {key!r}")
        if size > MAX_TEXT:
            hint = "Shorten the prompt, or pass --metadata minimal."
            raise PixartError("request-invalid", f"metadata {key}: {size} bytes, more than {MAX_TEXT}", hint)
    if sum(sizes.values()) + _OVERHEAD * len(sizes) > MAX_ALL_TEXT:
        raise PixartError("request-invalid", "the metadata is over 8 MiB", "Pass --metadata minimal.")


def _text(key: str, text: str) -> tuple[bytes, bytes]:
    # tEXt is Latin-1, which many programs misread as UTF-8; and XMP must be iTXt.
    if re.fullmatch(r"[ -~\n]*", text) and not key.startswith("XML:"):
        return b"tEXt", f"{key}\0{text}".encode("ascii")
    return b"iTXt", f"{key}\0\0\0\0\0{text}".encode()
