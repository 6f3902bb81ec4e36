"""Exceptions as sentences: only what is ours or foreseen is friendly."""

import pytest
import typer

from pixart_cli.cli.failure import UsageError, as_error, help_page
from pixart_cli.cli.signals import Terminated
from pixart_cli.core.errors import PixartError


def test_our_own_errors_pass_through():
    error = PixartError("disk", "full")
    assert as_error(error) is error


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (typer.Abort(), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "terminated"),
        (MemoryError(), "out-of-memory"),
        (ImportError("libcudart.so.12: cannot open", name="torch"), "install-broken"),
        (ImportError("cannot import name 'x'"), "bug"),
        (ModuleNotFoundError("x", name="pixart_cli.features.nothing"), "bug"),
        (ValueError("x"), "bug"),
        (OSError(13, "Permission denied"), "bug"),
        (RuntimeError("x"), "bug"),
    ],
)
def test_the_code_of_every_other(failure, code):
    assert as_error(failure).code == code


def test_usage_errors_are_recognised_and_cut_into_message_and_hint():
    assert issubclass(typer.BadParameter, UsageError)
    assert not issubclass(ValueError, UsageError)
    error = as_error(typer.BadParameter("No such thing. Did you mean 'that'?"))
    assert (error.code, error.hint) == ("usage", "Did you mean 'that'?")
    assert as_error(typer.BadParameter("bad")).hint == "See 'pixart --help'."


def test_a_bug_names_the_exception_and_asks_for_a_report():
    error = as_error(KeyError("seed"))
    assert error.message == "a bug in pixart: KeyError: 'seed'"
    assert "--debug" in error.hint


def test_only_a_bare_group_has_a_page():
    assert help_page(ValueError("x")) is None
