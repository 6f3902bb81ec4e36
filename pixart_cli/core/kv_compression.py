"""`--kv-compression`: what may be asked for, and whether a model can do it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

OFF: Final = "off"
AUTO: Final = "auto"
_MOST: Final = 8
CHOICES: Final = (OFF, AUTO, *map(str, range(2, _MOST + 1)))
"""Off, automatic, or the ratio R: keys and values on a grid R times coarser per side."""

QK_NORM_HINT: Final = (
    "Its weights norm queries and keys and were trained without compression, which cannot be added to them:"
    " leave the option out."
)

TRAINED: Final = ("conv", "ave", "uniform", "uniform_every")
"""The authors' ways to compress while training."""

_TRAINED: Final = re.compile(r"([a-z_]+):(\d{1,2}):(\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*)")
_MOST_TRAINED: Final = 16
_TOKEN_PIXELS: Final = 16
_FEWEST_KEYS: Final = 4


def largest_ratio(native: int) -> int:
    """The largest R for a model of `native` pixels a side: at least 4x4 keys are left of its square."""
    return min(_MOST, native // _TOKEN_PIXELS // _FEWEST_KEYS)


def check_kv_compression(value: str, spec: ModelSpec) -> None:
    """Refuse a ratio that `spec` cannot do: too coarse, or another than its weights were trained with.

    Raises:
        PixartError: "request-invalid" saying what the model can do.
    """
    if value in (OFF, AUTO):
        return
    what = f"{spec.name} cannot be drawn with kv_compression {value}"
    if spec.kv_ratio > 1 and value != str(spec.kv_ratio):
        hint = f"Its weights were trained with {spec.kv_ratio}, and always use it: leave the option out."
        raise PixartError("request-invalid", what, hint)
    if spec.kv_ratio == 1 and spec.qk_norm:
        raise PixartError("request-invalid", what, QK_NORM_HINT)
    most = largest_ratio(spec.native)
    if spec.kv_ratio == 1 and int(value) > most:
        raise PixartError("request-invalid", what, f"The most for its size is {most}.")


def trained_compression(text: str) -> dict[str, Any]:
    """How weights were trained, "SAMPLING:R:LAYERS" (as "uniform:2:14-27"): `sampling`, `ratio`, `layers`.

    Raises:
        PixartError: "request-invalid" for another form, an unknown sampling, or R outside 2 to 16.
    """
    match = _TRAINED.fullmatch(text.strip())
    if match is None or match[1] not in TRAINED or not 2 <= int(match[2]) <= _MOST_TRAINED:
        hint = f"Write SAMPLING:R:LAYERS, as uniform:2:14-27; SAMPLING is one of {', '.join(TRAINED)}."
        raise PixartError("request-invalid", f"{text[:80]!r} is no KV compression", hint)
    layers: set[int] = set()
    for span in match[3].split(","):
        first, _, last = span.partition("-")
        if int(last or first) < int(first):
            raise PixartError("request-invalid", f"{span} names no layers", "Write the lower number first.")
        layers |= set(range(int(first), int(last or first) + 1))
    return {"sampling": match[1], "ratio": int(match[2]), "layers": sorted(layers)}
