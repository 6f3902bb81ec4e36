"""How many bits the text encoder's weights have: as many as they are computed in, or 8 or 4, quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

UNQUANTISED: Final = 16
BITS: Final = (UNQUANTISED, 8, 4)
"""What can be asked for. 16 quantises nothing: the precision is then the plan's, bfloat16 where it can be."""


def bits_for(wanted: int, spec: ModelSpec) -> int:
    """The `wanted` bits, or 16 for a model whose text encoder is too small for any to be saved."""
    return UNQUANTISED if spec.built_in else wanted
