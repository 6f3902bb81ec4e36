"""TOML files that people write by hand: every complaint names the file and the line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import Setting
from pixart_cli.core.request import refuse_unknown

MAX_BYTES: Final = 64 * 1024
_WHERE: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>[0-9]+), column (?P<column>[0-9]+)\)", re.DOTALL)


def read_settings(path: Path, known: Mapping[str, Setting], *, code: str) -> dict[str, Any]:
    """The settings that the file `path` holds, each checked against `known`.

    Raises:
        PixartError: `code`, naming file and line, if the file cannot be read, is no TOML, or holds an
            unknown key or a wrong value.
    """
    text = _read_text(path, code)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error, code) from None
    except ValueError:  # a number of more digits than Python reads
        long = max(range(len(lines := text.split("\n"))), key=lambda number: len(lines[number]))
        raise PixartError(code, f"{path}:{long + 1}: a number that long", "Write a shorter one.") from None
    except RecursionError:
        raise PixartError(code, f"{path}: nested too deeply", "Write one 'key = value' a line.") from None
    return {key: _read_value(path, text, key, value, known, code) for key, value in values.items()}


def _read_value(path: Path, text: str, key: str, value: Any, known: Mapping[str, Setting], code: str) -> Any:
    source = f"{path}:{line_of(text, key)}"
    refuse_unknown(key, known, source=source, code=code)
    return known[key].check(value, source=source, code=code)


def _read_text(path: Path, code: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "Make it readable, or move it away."
        raise PixartError(code, f"cannot read {path}: {reason}", hint) from None
    if len(data) > MAX_BYTES:
        raise PixartError(code, f"{path}: longer than {MAX_BYTES} bytes", "Settings are a few lines of text.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{path}:{line}: byte {error.start} is not UTF-8"
        raise PixartError(code, what, "Save it as UTF-8.") from None


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError, code: str) -> PixartError:
    match = _WHERE.fullmatch(str(error))
    if match is None:  # "(at end of document)": the last line that says anything
        last = text.rstrip().count("\n") + 1
        return PixartError(code, f"{path}:{last}: {error}", "Write one 'key = value' a line.")
    what = f"{path}:{match['line']}: {match['what']}, column {match['column']}"
    return PixartError(code, what, "Write one 'key = value' a line, text in quotes.")


def place_of(path: Path, key: str) -> str:
    """`path` and the line on which `key` is set in it, as "pixart.toml:3"."""
    return f"{path}:{line_of(_read_text(path, 'config-invalid'), key)}"


def line_of(text: str, key: str) -> int:
    """The line, from 1, on which the top-level `key` of the TOML document `text` is set; 1 if not found.

    tomllib does not say. A line inside a multi-line string may look the same: what comes before the real one
    is a whole document.
    """
    name = re.escape(key)
    looks = re.compile(rf"\s*\[*\s*(?:{name}|\"{name}\"|'{name}')\s*[=.\]]")
    lines = text.split("\n")
    candidates = [number for number, line in enumerate(lines, 1) if looks.match(line)]
    return next((n for n in candidates[:20] if _is_whole("\n".join(lines[: n - 1]))), (*candidates, 1)[0])


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
