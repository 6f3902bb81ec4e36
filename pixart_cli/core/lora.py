"""`--lora`: files of low-rank changes to a transformer (Hu et al. 2021, arXiv 2106.09685), as asked for.

A file is typed by its place and recorded by its sha256, which says what it is wherever it lies.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pixart_cli.core.errors import PixartError

MOST: Final = 16
MOST_SCALE: Final = 10.0
_SEPARATOR: Final = ";"
_SCALE: Final = re.compile(r"[-+]?(?:[0-9]{1,4}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")
_RECORDED: Final = re.compile(r"(?P<sha256>[0-9a-f]{64}):(?P<scale>-?[0-9.e-]{1,24})")


@dataclass(frozen=True, order=True)
class Recorded:
    """One LoRA as a request names it: what it is, and how strongly it counts (1 as it was trained)."""

    sha256: str
    scale: float


def split_wish(text: str) -> tuple[str, float]:
    """(place, scale) of ``PLACE[:SCALE]``; 1 where no number follows the last colon, or it is part of a name.

    Raises:
        PixartError: "usage" for a scale out of range.
    """
    place, colon, number = text.rpartition(":")
    if not colon or not place or not _SCALE.fullmatch(number) or os.path.lexists(text):
        return text, 1.0
    if abs(float(number)) > MOST_SCALE:
        hint = f"Choose -{MOST_SCALE:g} to {MOST_SCALE:g}; 1 is as it was trained."
        raise PixartError("usage", f"--lora {text}: the scale {number} is too large", hint)
    return place, float(number)


def wishes_of(value: Any, source: str) -> tuple[str, ...]:
    """`value`, a text or a list of texts ``PLACE[:SCALE]``, as a tuple; from the environment parted by ``;``.

    Raises:
        PixartError: "request-invalid" for anything else, or more than 16 of them.
    """
    items = value.split(_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        hint = "Expected text, or a list of texts: a file, or FILE:SCALE."
        raise PixartError("request-invalid", f"{source}: lora cannot be {str(value)[:60]!r}", hint)
    wishes = tuple(item.strip() for item in items if item.strip())
    if len(wishes) > MOST or any("\x00" in wish for wish in wishes):
        what = f"{source}: lora names {len(wishes)} files" if len(wishes) > MOST else f"{source}: lora: a NUL"
        raise PixartError("request-invalid", what, f"The most is {MOST} files.")
    return wishes


def spell(loras: Sequence[Recorded]) -> str:
    """The text of `loras` in a request, the same in whatever order they were typed; "" for none.

    Raises:
        PixartError: "usage" when one file is there twice.
    """
    if len({each.sha256 for each in loras}) < len(loras):
        raise PixartError("usage", "one LoRA was given twice", "Give it once, with the sum of its scales.")
    return "+".join(f"{each.sha256}:{each.scale!r}" for each in sorted(loras))


def read_recorded(text: str) -> tuple[Recorded, ...]:
    """The inverse of :func:`spell`, of a text that :func:`check_lora` took."""
    pairs = (item.partition(":") for item in text.split("+") if item)
    return tuple(Recorded(sha256, float(scale)) for sha256, _, scale in pairs)


def check_lora(value: str, source: str) -> None:
    """Refuse what `spell` could not have written.

    Raises:
        PixartError: "request-invalid" naming `source`.
    """
    if value and not (_is_spelled(value) and spell(read_recorded(value)) == value):
        hint = "Expected SHA256:SCALE, several sorted and joined by +."
        raise PixartError("request-invalid", f"{source}: lora cannot be {value[:80]!r}", hint)


def _is_spelled(value: str) -> bool:
    items = value.split("+")
    if len(items) > MOST or not all(_RECORDED.fullmatch(item) for item in items):
        return False
    try:
        scales = [float(item.partition(":")[2]) for item in items]
    except ValueError:
        return False
    unique = len({item.partition(":")[0] for item in items}) == len(items)
    return unique and all(math.isfinite(scale) and abs(scale) <= MOST_SCALE for scale in scales)
