"""Lines of lists that people and programs write: any length of list, no length of line, and UTF-8 alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, Final, TextIO, cast

from pixart_cli.core.errors import PixartError

MAX_LINE_CHARACTERS: Final = 1_000_000
CODE: Final = "prompt-list-invalid"
_BYTE_ORDER_MARK: Final = "\ufeff"
_NO_TEXT: Final = re.compile("[\x00\r\ud800-\udfff]")
_WHY: Final = {
    "\x00": ("a NUL character", "Remove it; is this a text file?"),
    "\r": ("a carriage return inside the line", "End lines with LF or CRLF."),
}
_NO_UTF_8: Final = ("not valid UTF-8", "Save the list as UTF-8.")
_UTF_16: Final = ("\udcff\udcfe", "\udcfe\udcff")  # its mark, as bytes that are no UTF-8


@dataclass(frozen=True)
class Line:
    """One line without its end. `number` counts from 1, `name` is the list's, `start` where `text` begins."""

    name: str
    number: int
    text: str
    start: int = 0

    def stripped(self) -> Line:
        """This line without spaces and tabs at its ends; places stay those of the file."""
        bare = self.text.lstrip(" \t")
        return Line(self.name, self.number, bare.rstrip(" \t"), self.start + len(self.text) - len(bare))

    def place(self, index: int | None = None) -> str:
        """ "prompts.txt:3", or "prompts.txt:3:7" for the character at `index`, from 0."""
        return f"{self.name}:{self.number}" + ("" if index is None else f":{self.start + index + 1}")

    def wrong(self, index: int | None, what: str, hint: str) -> PixartError:
        """The error which says that `what` is wrong at the character `index` of this line."""
        return PixartError(CODE, f"{self.place(index)}: {what}", hint)


def open_list(path: Path) -> TextIO:
    """The list at `path`, opened as :func:`read_lines` reads it best.

    Raises:
        PixartError: "prompt-list-invalid" when there is no such file, "disk" when it cannot be opened.
    """
    try:
        return as_list(path.open("rb"))
    except (FileNotFoundError, NotADirectoryError):
        raise PixartError(CODE, f"there is no file {path}", _beside(path)) from None
    except IsADirectoryError:
        raise PixartError(CODE, f"{path} is a folder", "Name a prompt list.") from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise PixartError("disk", f"cannot read {path}: {reason}", "Name a list that can be read.") from error


def _beside(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        names = []
    close = get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.with_name(close[0])}?" if close else "Name a prompt list, or - to send one."


def as_list(data: BinaryIO) -> TextIO:
    """The text of `data`, standard input say, as :func:`read_lines` reads it best."""
    return io.TextIOWrapper(data, encoding="utf-8", errors="surrogateescape", newline="\n")


def read_lines(source: TextIO | Iterable[str], *, name: str) -> Iterator[Line]:
    r"""The lines of `source`, one in memory at a time, ended by LF or CRLF; a byte-order mark is left out.

    Bytes that are no UTF-8 are placed best where `source` was opened with ``errors="surrogateescape"``.

    Raises:
        PixartError: "prompt-list-invalid" for what is no UTF-8, a NUL, a lone CR or a line of more than a
            million characters; "disk" when `source` cannot be read.
    """
    for number, text in enumerate(_texts(source, name), 1):
        line = Line(name, number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text)
        _check(line)
        yield line


def _texts(source: TextIO | Iterable[str], name: str) -> Iterator[str]:
    """Each line without its end; of one too long, only as much as shows that it is."""
    number = 0
    try:
        for text in _pieces(source):
            number += 1
            yield text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        what = f"{name}: not valid UTF-8 after line {number}: {error.reason}"
        raise PixartError(CODE, what, "Save the list as UTF-8.") from None
    except OSError as error:
        what = f"cannot read {name}: {(error.strerror or str(error)).lower()}"
        raise PixartError("disk", what, "Name a list that can be read.") from error


def _pieces(source: TextIO | Iterable[str]) -> Iterator[str]:
    if not hasattr(source, "readline"):
        yield from source
        return
    file = cast("TextIO", source)
    while piece := file.readline(MAX_LINE_CHARACTERS + 3):
        yield piece


def _check(line: Line) -> None:
    text = line.text
    if len(text) > MAX_LINE_CHARACTERS:
        what = f"a line of more than {MAX_LINE_CHARACTERS} characters"
        raise line.wrong(MAX_LINE_CHARACTERS, what, "Write a prompt a line; is this a text file?")
    if line.number == 1 and text.startswith(_UTF_16):
        raise line.wrong(0, "this is UTF-16", "Save the list as UTF-8.")
    match = _NO_TEXT.search(text)
    if match is not None:
        what, hint = _WHY.get(match[0], _NO_UTF_8)
        raise line.wrong(match.start(), what, hint)
