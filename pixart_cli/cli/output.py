"""The one printer: text, JSON and quiet. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from pixart_cli.core.errors import PixartError
from pixart_cli.core.terminal import plain

RESULT: Final = "pixart.result/1"
EVENTS: Final = "pixart.batch/1"


class Printer:
    """Writes what one command gives. With `as_json`, exactly one document whatever happens.

    With `as_events` it is a line of JSON an event, of which the last says how it ended, whatever happens.
    `pipe_closed` turns true when the reader of standard output went away: pictures are still drawn.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.as_events = False
        self.quiet = False
        self.print0 = False
        self.pipe_closed = False
        self._warnings: list[str] = []
        self._attached: dict[str, Any] = {}
        self._closed = False

    def path(self, path: Path | str) -> None:
        """One file that now exists; a line, or NUL-ended with `print0`. Nothing with `as_json`."""
        if self.as_json or self.as_events or sys.stdout is None:
            return
        self._put(_name_bytes(path) + (b"\0" if self.print0 else b"\n"))

    def data(self, text: str) -> None:
        """Lines that were asked for, on standard output. Nothing with `as_json`."""
        if not (self.as_json or self.as_events):
            line = plain(text, keep_newlines=True) + "\n"
            self._put(line.encode(_encoding(sys.stdout), "backslashreplace"))

    def raw(self, data: bytes) -> None:
        """Bytes as they are, on standard output."""
        self._put(data)

    def lost(self, error: OSError) -> None:
        """Standard output took nothing more: its reader went away (`pipe_closed`), or its disk said no.

        Raises:
            PixartError: "disk" for all but the first.
        """
        if sys.stdout is not None:
            _silence(sys.stdout)
        if isinstance(error, BrokenPipeError):
            self.pipe_closed = True
            return
        what = f"cannot write to standard output: {(error.strerror or str(error)).lower()}"
        raise PixartError("disk", what, "Free some space there.") from error

    def document(self, schema: str, **values: Any) -> None:
        """The one JSON document of a success. Nothing without `as_json`."""
        if self.as_json:
            self._document({"schema": schema, "ok": True, **values, "warnings": self._warnings})

    def event(self, name: str, **values: Any) -> None:
        """One event as a line of JSON. Nothing without `as_events`."""
        if self.as_events:
            self._put(_ascii({"event": name, **values}, indent=None))

    def attach(self, schema: str, **values: Any) -> None:
        """What the document shall hold beside the error, should one come."""
        self._attached = {"schema": schema, "ok": False, **values}

    def say(self, text: str) -> None:
        """A line on standard error for the person who waits; none if `quiet`."""
        if not self.quiet:
            self._tell(text)

    def hint(self, text: str) -> None:
        """Advice, not asked for."""
        self.say(f"hint: {text}")

    def warn(self, text: str) -> None:
        """Something that a person or script should know; once a text, also in the document."""
        if text not in self._warnings:
            self._warnings.append(text)
            self._tell(f"warning: {text}")

    def trouble(self, error: PixartError) -> None:
        """`error` as a line on standard error, while the command goes on. Nothing with `as_json`."""
        if not (self.as_json or self.as_events):
            self._tell(f"error: {error.message}")

    def fail(self, error: PixartError) -> None:
        """`error` as two lines on standard error, or as the document if none was sent, or tried, before."""
        if self.as_events and not self._closed:
            self._closed = True
            self.event("done", **(self._attached or {"schema": EVENTS, "ok": False}), **self._failure(error))
            return
        if self.as_json and not self._closed:
            self._document((self._attached or {"schema": RESULT, "ok": False}) | self._failure(error))
            return
        self._tell(f"error: {error.message}")
        if error.hint:
            self._tell(f"hint: {error.hint}")

    def _failure(self, error: PixartError) -> dict[str, Any]:
        shown = {"code": error.code, "message": error.message, "hint": error.hint, "exit": error.exit_code}
        return {"error": shown, "warnings": self._warnings}

    def note(self, text: str) -> None:
        """Lines on standard error in every mode: help after a mistake, a traceback asked for."""
        self._tell(text)

    def ask(self, question: str) -> bool:
        """Whether the person at the terminal says yes; Enter is no."""
        self._tell(f"{question} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _document(self, values: dict[str, Any]) -> None:
        self._closed = True
        self._put(_ascii(values, indent=2))

    def _put(self, data: bytes) -> None:
        if sys.stdout is None:
            raise PixartError("disk", "standard output is closed", "Leave it open, or send it to a file.")
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            self.lost(error)

    def _tell(self, text: str, end: str = "\n") -> None:
        if sys.stderr is None:
            return
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: the pictures matter
            sys.stderr.write(plain(text, keep_newlines=True) + end)
            sys.stderr.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person may be looking at `stream`, or typing into it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def prepare_streams() -> None:
    """Let no text fail for want of a character, and no file ever land on descriptor 0, 1 or 2."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def as_typed(path: Path, output: str | None) -> Path:
    """`path` from the working folder, unless a whole path was typed."""
    whole = output is not None and (output.startswith("~/") or Path(output).is_absolute())
    return path if whole else Path(os.path.relpath(path))


def size_words(count: float) -> str:
    """`count` bytes for a person: "21.3 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_words(seconds: float) -> str:
    """`seconds` for a person: "3.2 s", "4 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def table(rows: Sequence[Sequence[str]]) -> str:
    """`rows` with their columns aligned, two spaces between, none at the end of a line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _ascii(values: dict[str, Any], *, indent: int | None) -> bytes:
    """JSON in ASCII alone: no terminal is harmed, no encoding refuses it. DEL is what json lets through."""
    text = json.dumps(values, indent=indent, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")
    return text.encode("ascii") + b"\n"


def _name_bytes(path: Path | str) -> bytes:
    """The exact name for a program, a harmless spelling of it for a terminal."""
    if is_terminal(sys.stdout):
        return plain(str(path)).encode(_encoding(sys.stdout), "backslashreplace")
    return os.fsencode(path)


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _silence(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that Python's own flush at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
