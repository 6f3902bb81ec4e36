"""The text of a prompt list: what `read_jobs` gives, written so that it reads back the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from pixart_cli.core.escapes import escape
from pixart_cli.core.options import PICTURE_SETTINGS
from pixart_cli.core.terminal import plain

_WIDTH: Final = 100
_ENDS: Final = re.compile(r"^ | $")


def write_job(prompt: str, options: Mapping[str, object], *, comment: str = "") -> str:
    """`prompt` with its `options`, by the keys of `core.options.PICTURE_SETTINGS`, as lines of a prompt list.

    The prompt offers no alternatives: its braces are characters. Each line of `comment` stands above it.

    Raises:
        KeyError: for what no line of a list can set.
    """
    lines = [f"# {plain(line)}".rstrip() for line in comment.split("\n") if line]
    return "\n".join([*lines, _prompt(prompt), *_option_lines(options)]) + "\n"


def _prompt(prompt: str) -> str:
    text = escape(prompt, "\\{}")
    if text.startswith(("#", "-")):
        text = "\\" + text
    return _ENDS.sub(lambda _: "\\x20", text)


def _option_lines(options: Mapping[str, object]) -> list[str]:
    """The options in as few indented lines as are easy to read."""
    lines: list[str] = []
    for each in (spelled for key, value in options.items() for spelled in _spelled(key, value)):
        if lines and len(lines[-1]) + len(each) < _WIDTH:
            lines[-1] += f" {each}"
        else:
            lines.append(f"  {each}")
    return lines


def _spelled(key: str, value: object) -> list[str]:
    """``--key value``, as often as the option is given."""
    name = f"--{PICTURE_SETTINGS[key].key.replace('_', '-')}"
    values = (value or ("",)) if isinstance(value, tuple) else (value,)
    return [f"{name} {_quoted(str(each))}" for each in values]


def _quoted(text: str) -> str:
    return shlex.quote(text) if plain(text) == text else f"$'{escape(text, chr(92) + chr(39))}'"
