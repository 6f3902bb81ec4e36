"""One table of errors: codes, exit codes, and the page that explains them."""

from __future__ import annotations

import re
import weakref
from pathlib import Path

import pytest

from pixart_cli.core.errors import ERRORS, PixartError, let_go_of_what_failed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
ROW = re.compile(r"\| `(?P<code>[a-z-]+)` \| (?P<exit>[0-9]+) \| (?P<when>.+?) \|")


def test_an_error_carries_message_hint_and_exit_code() -> None:
    error = PixartError("disk", "cannot write a.png: no space left", "Free some space.")
    assert (error.code, error.exit_code) == ("disk", 9)
    assert (error.message, error.hint) == ("cannot write a.png: no space left", "Free some space.")
    assert str(error) == error.message


def test_the_hint_may_be_left_out() -> None:
    assert PixartError("bug", "x").hint == ""


def test_a_code_outside_the_table_is_a_bug() -> None:
    with pytest.raises(KeyError):
        PixartError("no-such-code", "x")


def test_codes_are_unique_and_exit_codes_are_those_of_the_contract() -> None:
    assert all(code == kind.code for code, kind in ERRORS.items())
    assert {kind.exit_code for kind in ERRORS.values()} == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 143}


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("bug", 1), ("usage", 2), ("size-invalid", 2), ("output-exists", 2), ("model-missing", 3),
        ("weights-invalid", 4), ("metadata-missing", 4), ("out-of-memory", 5), ("picture-invalid", 6),
        ("batch-partial", 7), ("replay-differs", 8), ("disk", 9), ("batch-locked", 10),
        ("interrupted", 130), ("terminated", 143),
    ],
)  # fmt: skip
def test_scripts_can_rely_on_exit_codes(code: str, exit_code: int) -> None:
    assert ERRORS[code].exit_code == exit_code


def test_the_page_and_the_table_say_the_same_both_ways() -> None:
    found = {m["code"]: (int(m["exit"]), m["when"]) for m in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    assert found == {code: (kind.exit_code, kind.when) for code, kind in ERRORS.items()}


class Weights:
    """Something that is seen to be gone."""


def test_a_failure_that_is_kept_keeps_nothing_of_what_failed() -> None:
    alive: list[weakref.ref[Weights]] = []

    def inner() -> None:
        weights = Weights()
        alive.append(weakref.ref(weights))
        raise ZeroDivisionError(str(weights))

    def outer() -> None:
        weights = Weights()
        alive.append(weakref.ref(weights))
        try:
            inner()
        except ZeroDivisionError as error:
            raise PixartError("picture-invalid", str(weights)) from error

    with pytest.raises(PixartError) as caught:
        outer()
    let_go_of_what_failed(caught.value)
    assert [each() for each in alive] == [None, None]
    assert caught.value.__cause__.__traceback__ is not None
