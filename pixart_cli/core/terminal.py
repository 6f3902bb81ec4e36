"""Text that is safe to show on a terminal, whatever a prompt, file name or PNG holds."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: colours, cursor moves, window titles, bells
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks reorder what is read
    r"\u2028\u2029\ufeff\ufff9-\ufffb"  # line separators, BOM, interlinear marks
    r"\ud800-\udfff]"  # undecodable bytes of a file name: not printable as UTF-8
)


def plain(text: str, *, keep_newlines: bool = False) -> str:
    r"""`text` with every control, bidi and undecodable character spelled out, as in ``\x1b`` or ``\u202e``.

    All else, emoji joiners included, stays as it is. `keep_newlines` lets ``\n`` through.
    """

    def spell(match: re.Match[str]) -> str:
        code = ord(match[0])
        if keep_newlines and code == 0x0A:
            return "\n"
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSAFE.sub(spell, text)
