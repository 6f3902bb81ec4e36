"""The table of request fields: kinds, ranges, and a walk over every row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_KEY, BY_NAME, FIELDS, MAX_SIDE, SCHEDULERS
from pixart_cli.core.request import GenerationRequest


def test_every_field_of_the_request_has_a_row_and_the_other_way_round() -> None:
    names = [field.name for field in dataclasses.fields(GenerationRequest)]
    assert names == [field.name for field in FIELDS]


def test_names_and_keys_are_unique() -> None:
    assert len(BY_NAME) == len(BY_KEY) == len(FIELDS)


def test_defaults_pass_their_own_check() -> None:
    checked = {field.key: field.check(field.default) for field in FIELDS if field.default is not None}
    assert checked == {
        "negative": "", "kv_compression": "off", "refine": "off", "lora": "", "init_image": "",
        "strength": 1.0, "encoder_bits": 16, "guidance_until": 1.0,
    }  # fmt: skip


def test_a_whole_number_is_a_number_where_fractions_are_wanted() -> None:
    value = BY_KEY["guidance"].check(4)
    assert value == 4.0
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("steps", 0, "The least is 1."),
        ("steps", 1001, "The most is 1000."),
        ("steps", "20", "Expected a whole number."),
        ("steps", True, "Expected a whole number."),
        ("steps", 20.0, "Expected a whole number."),
        ("guidance", True, "Expected a number."),
        ("guidance", float("nan"), "Expected a finite number."),
        ("guidance", float("inf"), "Expected a finite number."),
        ("guidance", 10**400, "Expected a finite number."),
        ("guidance", -0.1, "The least is 0."),
        ("seed", 2**63, "The most is 9223372036854775807."),
        ("seed", -1, "The least is 0."),
        ("width", MAX_SIDE + 1, "The most is 32768."),
        ("prompt", 3, "Expected text."),
        ("scheduler", "ddpm", "Expected one of " + ", ".join(SCHEDULERS) + "."),
        ("encoder_bits", 6, "Expected one of 16, 8, 4."),
        ("encoder_bits", "8", "Expected a whole number."),
        ("encoder_bits", True, "Expected a whole number."),
    ],
)
def test_wrong_values_are_refused_with_what_is_allowed(key: str, value: Any, hint: str) -> None:
    with pytest.raises(PixartError) as caught:
        BY_KEY[key].check(value, source="line 3")
    assert caught.value.code == "request-invalid"
    assert caught.value.message.startswith(f"line 3: {key} cannot be ")
    assert caught.value.hint == hint


def test_a_long_wrong_value_is_shortened_in_the_message() -> None:
    with pytest.raises(PixartError) as caught:
        BY_KEY["scheduler"].check("x" * 10_000)
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("key", ["seed", "guidance"])
def test_a_number_too_long_to_spell_is_refused_in_words(key: str) -> None:
    with pytest.raises(PixartError) as caught:
        BY_KEY[key].check(10**5000)
    assert len(caught.value.message) < 100
