"""Bits of the text encoder's weights: what can be asked for, and of which model it is of use."""

from __future__ import annotations

from pixart_cli.core.catalog import catalog
from pixart_cli.core.encoder_bits import BITS, UNQUANTISED, bits_for
from pixart_cli.core.fields import BY_NAME


def test_what_can_be_asked_for_is_in_the_table() -> None:
    field = BY_NAME["text_encoder_bits"]
    assert (field.key, field.choices, field.default) == ("encoder_bits", BITS, UNQUANTISED)


def test_the_built_in_models_encoder_is_left_as_it_is() -> None:
    found = {name: [bits_for(bits, spec) for bits in BITS] for name, spec in catalog().items()}
    assert found["mini"] == [16, 16, 16]
    assert found["sigma-1024"] == [16, 8, 4]
