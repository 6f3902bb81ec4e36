"""A folder of pictures with captions: what is there, what cannot be used and why. Nothing is decoded here.

Captions come from three places, which may be mixed: a text file beside a picture (``fox.txt``, ``fox.png``),
JSON lines (``{"file_name": "fox.png", "text": "a fox"}``), and WebDataset tars, whose members of one name
belong together (``000.jpg`` and ``000.txt`` or ``000.json``).
"""

from __future__ import annotations

import json
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import MAX_PROMPT_BYTES
from pixart_cli.diffusion.init_image import DAMAGED, FORMATS, MOST_BYTES, MOST_PIXELS

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_TEXTS: Final = (".txt", ".caption")
_NAMES: Final = ("file_name", "file", "image", "path")
_CAPTIONS: Final = ("text", "caption", "prompt")
_MOST_LINES: Final = 10_000_000
_TURNED: Final = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION: Final = 0x0112


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture to learn from: `size_bytes` at `offset` of the file `path`; width and height in pixels."""

    name: str
    path: Path
    offset: int
    size_bytes: int
    width: int
    height: int
    caption: str

    def read(self) -> bytes:
        """The bytes of the picture's file. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)


@dataclass(frozen=True)
class Skipped:
    """Something that cannot be learned from, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Found:
    """What a folder holds, in an order that does not depend on the disk."""

    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...]


def find_pictures(folder: Path, *, caption: str = "") -> Found:
    """The pictures in `folder` and below that have a caption; `caption` is that of pictures without one.

    Raises:
        PixartError: "disk" when it cannot be read.
    """
    try:
        files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
        return _Search(folder if folder.is_dir() else folder.parent, files, caption).found()
    except OSError as error:
        what = f"cannot read {error.filename or folder}: {error.strerror or error}"
        raise PixartError("disk", what, "Check the folder and its permissions.") from error


class _Search:
    def __init__(self, folder: Path, files: list[Path], caption: str) -> None:
        self._folder, self._files, self._caption = folder, files, caption
        self._pictures: list[Picture] = []
        self._skipped: list[Skipped] = []

    def found(self) -> Found:
        visible = [path for path in self._files if not path.name.startswith(".")]
        told = dict(self._of_lines([path for path in visible if path.suffix == ".jsonl"]))
        texts = {path.with_suffix(""): path for path in visible if path.suffix.lower() in _TEXTS}
        for path in visible:
            if path.suffix.lower() in SUFFIXES:
                text = texts.pop(path.with_suffix(""), None)
                self._add_file(path, told.pop(path, None), text)
            elif path.suffix.lower() == ".tar":
                self._add_tar(path)
        for path, where in [*((p, "") for p in texts.values()), *((p, c) for p, c in told.items())]:
            self._skip(path, "a caption without a picture" + (f" ({where[:60]!r})" if where else ""))
        return Found(tuple(sorted(self._pictures, key=lambda each: each.name)), tuple(self._skipped))

    def _skip(self, path: Path | str, why: str) -> None:
        self._skipped.append(Skipped(self._name(path) if isinstance(path, Path) else path, why))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix() if path.is_relative_to(self._folder) else str(path)

    def _add_file(self, path: Path, told: str | None, text: Path | None) -> None:
        caption = told
        if caption is None and text is not None:
            caption = text.read_bytes().decode("utf-8", "replace")
        size = path.stat().st_size
        if size > MOST_BYTES:
            self._skip(path, f"it is larger than {MOST_BYTES >> 20} MiB")
            return
        with path.open("rb") as file:
            self._add(self._name(path), path, (0, size), caption, file)

    def _add(self, name: str, path: Path, place: tuple[int, int], caption: str | None, file: Any) -> None:
        words = " ".join((caption or self._caption).split())
        if not words or not _is_text(words):
            self._skip(name, "it has no caption" if not words else "its caption is no text, or too long")
            return
        try:
            width, height = _size_of(file)
        except ValueError as error:
            self._skip(name, str(error))
            return
        self._pictures.append(
            Picture(
                name=name, path=path, offset=place[0], size_bytes=place[1], width=width, height=height,
                caption=words,
            )
        )  # fmt: skip

    def _of_lines(self, files: list[Path]) -> Iterator[tuple[Path, str]]:
        """Captions by the picture's path, from JSON lines."""
        for path in files:
            with path.open("rb") as lines:
                for number, line in zip(range(1, _MOST_LINES), lines, strict=False):
                    if line.strip():
                        row = _row_of(line)
                        if row is None:
                            what = f"no JSON object with {_NAMES[0]!r} and {_CAPTIONS[0]!r}"
                            self._skip(f"{self._name(path)}:{number}", what)
                        else:
                            yield path.parent / row[0], row[1]

    def _add_tar(self, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as tar:
                groups: dict[str, dict[str, tarfile.TarInfo]] = {}
                for member in tar:
                    stem, _, suffix = member.name.rpartition(".")
                    if member.isfile() and not Path(member.name).name.startswith("."):
                        groups.setdefault(stem, {})["." + suffix.lower()] = member
                for stem, members in groups.items():
                    self._add_group(path, tar, stem, members)
        except (tarfile.TarError, EOFError) as error:
            self._skip(path, f"it is no tar, or cut off ({error})")

    def _add_group(
        self, path: Path, tar: tarfile.TarFile, stem: str, members: Mapping[str, tarfile.TarInfo]
    ) -> None:
        picture = next((members[suffix] for suffix in SUFFIXES if suffix in members), None)
        if picture is None:
            self._skip(f"{self._name(path)}/{stem}", "a caption without a picture")
            return
        name = f"{self._name(path)}/{picture.name}"
        if picture.size > MOST_BYTES:
            self._skip(name, f"it is larger than {MOST_BYTES >> 20} MiB")
            return
        caption, data = _caption_in(tar, members), tar.extractfile(picture)
        self._add(name, path, (picture.offset_data, picture.size), caption, data)


def _row_of(line: bytes) -> tuple[str, str] | None:
    """(file name, caption) of one JSON line; None where it is none."""
    row = _object(line)
    name, caption = _text(row, _NAMES), _text(row, _CAPTIONS)
    return None if name is None or caption is None or "\x00" in name else (name, caption)


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` holds; an empty one where it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(row: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of `keys` that is a text."""
    return next((row[key] for key in keys if isinstance(row.get(key), str)), None)


def _is_text(words: str) -> bool:
    """Whether a caption is whole and not too long; half of a surrogate pair, which JSON can hold, is none."""
    try:
        return "\ufffd" not in words and len(words.encode()) <= MAX_PROMPT_BYTES
    except UnicodeEncodeError:
        return False


def _caption_in(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> str | None:
    for suffix in (*_TEXTS, ".json"):
        file = tar.extractfile(members[suffix]) if suffix in members else None
        if file is not None:
            data = file.read(MAX_PROMPT_BYTES + 1)
            return _text(_object(data), _CAPTIONS) if suffix == ".json" else data.decode("utf-8", "replace")
    return None


def _size_of(file: Any) -> tuple[int, int]:
    """(width, height) as the picture's header says, turned as its EXIF does.

    Raises:
        ValueError: saying why it is no picture that can be read.
    """
    from PIL import Image

    kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as picture:
                width, height = picture.size
                # Of a PNG without it in front, Pillow would decode all pixels to look behind them.
                known = picture.format != "PNG" or "exif" in picture.info
                turned = known and picture.getexif().get(_ORIENTATION) in _TURNED
    except DAMAGED:
        raise ValueError("it is no picture of a kind that can be read") from None
    finally:
        Image.MAX_IMAGE_PIXELS = kept
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"it is {width}x{height} pixels; the most is {MOST_PIXELS // 10**6} million")
    return (height, width) if turned else (width, height)
