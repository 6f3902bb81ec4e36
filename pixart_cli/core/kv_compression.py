"""`--kv-compression`: what may be asked for, and whether a model can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

OFF: Final = "off"
AUTO: Final = "auto"
_MOST: Final = 8
CHOICES: Final = (OFF, AUTO, *map(str, range(2, _MOST + 1)))
"""Off, automatic, or the ratio R: keys and values on a grid R times coarser per side."""

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
    most = largest_ratio(spec.native)
    if spec.kv_ratio == 1 and int(value) > most:
        raise PixartError("request-invalid", what, f"The most for its size is {most}.")
