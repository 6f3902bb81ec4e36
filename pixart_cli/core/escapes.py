r"""Backslashes in prompt lists: ``\n``, ``\t``, ``\r``, ``\xHH``, ``\uHHHH``, ``\UHHHHHHHH``, ``\{`` …"""

from __future__ import annotations

import re
from typing import Final

from pixart_cli.core.terminal import plain

MARKS: Final = "\\{}|#-_'\""
ESCAPE: Final = re.compile(
    r"\\(?:(?P<mark>[\\{}|#\-_'\"])|(?P<letter>[ntr])"
    r"|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>(?:0010|000[0-9a-fA-F])[0-9a-fA-F]{4}))"
)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r"}


def meaning(match: re.Match[str]) -> str:
    """The one character that a match of :data:`ESCAPE` stands for."""
    if match["mark"]:
        return match["mark"]
    if match["letter"]:
        return _LETTERS[match["letter"]]
    return chr(int(match["x"] or match["u"] or match["U"], 16))


def unescape(text: str) -> str:
    """`text` with every escape replaced; a backslash before anything else stays as it is."""
    return ESCAPE.sub(meaning, text)


def escape(text: str, marks: str = "\\") -> str:
    """`text` in printable characters that :func:`unescape` gives back, a backslash before each of `marks`."""
    text = re.sub(f"[{re.escape(marks)}]", r"\\\g<0>", text)
    return plain(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))
