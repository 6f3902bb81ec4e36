r"""Where a character of a value stands in the CSV or JSON it was written in: for messages alone.

The readers of the standard library do not say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pixart_cli.core.list_lines import Line

_JSON_CHARACTER: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\\"]"
)


def in_csv(lines: Sequence[Line], delimiter: str, cell: int, index: int) -> tuple[int, int]:
    """(line, column from 0) of the character `index` of the cell `cell`, from 0, of the record `lines`."""
    text = "\n".join(line.text for line in lines)
    at = _cell_start(text, delimiter, cell)
    quoted = text[at : at + 1] == '"'
    at += quoted
    for _ in range(index):
        at += 2 if quoted and text[at : at + 2] == '""' else 1
    number = text.count("\n", 0, at)
    return lines[number].number, lines[number].start + at - (text.rfind("\n", 0, at) + 1)


def _cell_start(text: str, delimiter: str, cell: int) -> int:
    """Where in a record the cell begins, its quote included."""
    at = _past_spaces(text, 0)
    for _ in range(cell):
        quoted = text[at : at + 1] == '"'
        if quoted:
            at = _past_quotes(text, at + 1)
        at = _past_spaces(text, text.index(delimiter, at) + 1)
    return at


def _past_spaces(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _past_quotes(text: str, at: int) -> int:
    while text[at] != '"' or text[at : at + 2] == '""':
        at += 2 if text[at] == '"' else 1
    return at + 1


def in_json(text: str, key: str, index: int) -> int:
    """Where in the object `text` the character `index` of the value of `key` stands, or the value begins."""
    for match in re.finditer(r'"((?:\\.|[^"\\])*)"\s*:\s*', text):
        if match[1] == key:
            return _in_string(text, match.end(), index)
    return 0


def _in_string(text: str, at: int, index: int) -> int:
    if text[at : at + 1] != '"':
        return at
    at += 1
    for _ in range(index):
        match = _JSON_CHARACTER.match(text, at)
        at = match.end() if match else at
    return at
