"""What may be asked of KV compression, model by model."""

from __future__ import annotations

import dataclasses

import pytest

from pixart_cli.core.catalog import catalog, get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import CHOICES, check_kv_compression, largest_ratio


def refusal(value: str, **changes: object) -> PixartError:
    with pytest.raises(PixartError) as caught:
        check_kv_compression(value, dataclasses.replace(get_model("mini"), **changes))  # type: ignore[arg-type]
    assert caught.value.code == "request-invalid"
    return caught.value


def test_choices_are_words_and_ratios() -> None:
    assert CHOICES == ("off", "auto", "2", "3", "4", "5", "6", "7", "8")


@pytest.mark.parametrize(("native", "most"), [(256, 4), (512, 8), (1024, 8), (2048, 8)])
def test_at_least_four_by_four_keys_are_left(native: int, most: int) -> None:
    assert largest_ratio(native) == most


@pytest.mark.parametrize("model", catalog())
def test_every_model_can_be_off_automatic_and_compressed_by_two(model: str) -> None:
    for value in ("off", "auto", "2"):
        check_kv_compression(value, get_model(model))


def test_too_coarse_a_ratio_names_the_most() -> None:
    check_kv_compression("4", get_model("mini"))
    error = refusal("5")
    assert "mini cannot be drawn with kv_compression 5" in error.message
    assert error.hint == "The most for its size is 4."


def test_weights_trained_with_a_ratio_keep_it() -> None:
    trained = dataclasses.replace(get_model("mini"), kv_ratio=2)
    for value in ("off", "auto", "2"):
        check_kv_compression(value, trained)
    assert "trained with 2" in refusal("3", kv_ratio=2).hint
