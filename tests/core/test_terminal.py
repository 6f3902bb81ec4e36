from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.terminal import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\tb\rc\nd\x7f", r"a\x09b\x0dc\x0ad\x7f"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("caf\udce9", r"caf\udce9"),
        ("\u2028\ufeff", r"\u2028\ufeff"),
        ("été 漢字 👩\u200d🚀 [red]", "été 漢字 👩\u200d🚀 [red]"),
    ],
)
def test_spells_out_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_newlines_can_stay() -> None:
    assert plain("a\nb\x1b", keep_newlines=True) == "a\nb\\x1b"


@given(st.text(st.characters(categories=None)))
def test_no_control_byte_is_left_and_all_can_be_printed(text: str) -> None:
    shown = plain(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert plain(shown) == shown
