"""Backslashes: every text can be written, and reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.escapes import escape, unescape
from pixart_cli.core.terminal import plain


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\n\t\r", "\n\t\r"), (r"\\n", r"\n"), (r"\{a\|b\}", "{a|b}"), (r"\#\-\_\'\"", "#-_'\""),
        (r"\x41\u00e9\U0001F307", "Aé🌇"), (r"\x4\u12\U00110000", r"\x4\u12\U00110000"),
        (r"C:\dir \( \)", r"C:\dir \( \)"), ("\\", "\\"), ("", ""),
    ],
)  # fmt: skip
def test_escapes_mean_what_the_page_says(written, meant):
    assert unescape(written) == meant


@given(st.text(), st.sampled_from(["\\", "\\{}", "\\'"]))
def test_what_is_escaped_is_harmless_and_reads_back(text, marks):
    written = escape(text, marks)
    assert unescape(written) == text
    assert plain(written) == written
