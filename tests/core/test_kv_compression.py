"""What may be asked of KV compression, model by model."""

from __future__ import annotations

import dataclasses

import pytest

from pixart_cli.core.catalog import catalog, get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import (
    CHOICES,
    check_kv_compression,
    largest_ratio,
    trained_compression,
)


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


def test_weights_that_norm_queries_and_keys_say_why_they_cannot() -> None:
    normed = dataclasses.replace(get_model("mini"), qk_norm=True)
    for value in ("off", "auto"):
        check_kv_compression(value, normed)
    error = refusal("2", qk_norm=True)
    assert "norm queries and keys" in error.hint
    check_kv_compression("2", dataclasses.replace(normed, kv_ratio=2))


def test_weights_trained_with_a_ratio_keep_it() -> None:
    trained = dataclasses.replace(get_model("mini"), kv_ratio=2)
    for value in ("off", "auto", "2"):
        check_kv_compression(value, trained)
    assert "trained with 2" in refusal("3", kv_ratio=2).hint


@pytest.mark.parametrize(
    ("text", "sampling", "ratio", "layers"),
    [
        ("conv:2:14-27", "conv", 2, list(range(14, 28))),
        (" ave:4:14,15 ", "ave", 4, [14, 15]),
        ("uniform:16:3-3,0-1,1", "uniform", 16, [0, 1, 3]),
        ("uniform_every:3:0", "uniform_every", 3, [0]),
    ],
)
def test_how_weights_were_trained_is_read(text: str, sampling: str, ratio: int, layers: list[int]) -> None:
    assert trained_compression(text) == {"sampling": sampling, "ratio": ratio, "layers": layers}


@pytest.mark.parametrize(
    "text",
    ["", "conv", "conv:2", "conv:2:", "pool:2:1", "conv:1:1", "conv:17:1", "conv:2:1-", "conv:2:5-3",
     "conv:x:1", "conv:2:1;2", "conv:2:-1", "conv:2:1:3", "conv:2:99999", "conv:999:1"],
)  # fmt: skip
def test_another_form_of_compression_is_refused(text: str) -> None:
    with pytest.raises(PixartError) as caught:
        trained_compression(text)
    assert (caught.value.code, bool(caught.value.hint)) == ("request-invalid", True)
