"""What may be typed of LoRAs, and how a request spells them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import MOST, Recorded, check_lora, read_recorded, spell, split_wish

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
RECORDED = st.builds(Recorded, HASHES, st.floats(-10, 10))


@pytest.mark.parametrize(
    ("text", "place", "scale"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("a.safetensors:-1", "a.safetensors", -1.0),
        ("owner/repo:.5", "owner/repo", 0.5),
        (r"C:\loras\a.safetensors", r"C:\loras\a.safetensors", 1.0),
        ("a:b", "a:b", 1.0),
        (":0.5", ":0.5", 1.0),
        ("a:", "a:", 1.0),
        ("a:nan", "a:nan", 1.0),
    ],
)
def test_a_number_after_the_last_colon_is_a_scale(text: str, place: str, scale: float) -> None:
    assert split_wish(text) == (place, scale)


def test_a_file_of_that_very_name_wins(tmp_path: Path) -> None:
    (tmp_path / "a:2").touch()
    assert split_wish(f"{tmp_path}/a:2") == (f"{tmp_path}/a:2", 1.0)


def test_a_scale_out_of_range_is_refused() -> None:
    with pytest.raises(PixartError, match="scale 11 is too large") as caught:
        split_wish("a.safetensors:11")
    assert caught.value.code == "usage"


@given(st.lists(RECORDED, max_size=4, unique_by=lambda each: each.sha256))
def test_spelled_and_read_are_inverse_in_any_order(loras: list[Recorded]) -> None:
    texts = {spell(order) for order in itertools.permutations(loras)}
    assert len(texts) == 1
    text = texts.pop()
    check_lora(text, "here")
    assert sorted(read_recorded(text)) == sorted(loras)


def test_one_file_twice_is_refused() -> None:
    with pytest.raises(PixartError, match="twice") as caught:
        spell([Recorded("a" * 64, 1.0), Recorded("a" * 64, 0.5)])
    assert caught.value.code == "usage"


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    "text",
    [
        A, f"{A}:", f"{A}:x", f"{A}:1", f"{A}:11.0", f"{A}:1e999", f"{A}:1.0.0", f"{A}:1.0+",
        f"{B}:1.0+{A}:1.0", f"{A}:1.0+{A}:1.0", f"{A[:-1]}:1.0", f"{A.upper()}:1.0",
        "/home/me/a.safetensors:1.0",
        "+".join(f"{number:064x}:1.0" for number in range(MOST + 1)),
    ],
)  # fmt: skip
def test_what_could_not_have_been_spelled_is_refused(text: str) -> None:
    with pytest.raises(PixartError, match="record: lora cannot be") as caught:
        check_lora(text, "record")
    assert caught.value.code == "request-invalid"
