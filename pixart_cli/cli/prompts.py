"""Prompts as they are typed, and the one that is sent: - reads standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from pixart_cli.cli.output import Printer, is_terminal
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import MAX_PROMPT_BYTES

_MARGIN: Final = 64  # a mark in front, line ends behind, and the byte that is too many


def read_prompts(printer: Printer, words: Sequence[str]) -> list[str]:
    """`words`, with - replaced by what standard input says.

    Raises:
        PixartError: "usage" when - is there twice, "prompt-invalid" when standard input holds no prompt.
    """
    if list(words).count("-") > 1:
        raise PixartError("usage", "standard input holds one prompt, and - was given twice", "Give - once.")
    return [_read_prompt(printer) if word == "-" else word for word in words]


def _read_prompt(printer: Printer) -> str:
    if sys.stdin is None:
        raise PixartError("prompt-invalid", "standard input is closed", "Give the prompt in quotes.")
    if is_terminal(sys.stdin):
        printer.note("Type the prompt, then press Ctrl-D on a line of its own.")
    try:
        data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + _MARGIN)
    except OSError as error:  # open for writing alone, or its terminal is another job's
        what = f"standard input cannot be read: {(error.strerror or str(error)).lower()}"
        raise PixartError("prompt-invalid", what, "Give the prompt in quotes.") from error
    if len(data) == MAX_PROMPT_BYTES + _MARGIN:
        what = f"standard input holds more than the {MAX_PROMPT_BYTES} bytes a prompt may have"
        raise PixartError("prompt-invalid", what, "Send one prompt.")
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        where = f"standard input: not valid UTF-8 at byte {error.start}"
        raise PixartError("prompt-invalid", where, "Pass the text as UTF-8.") from None
