"""Options come from the table of settings: name, help and default."""

import pytest
import typer
from typer.testing import CliRunner

from pixart_cli.cli import options
from pixart_cli.cli.app import app
from pixart_cli.cli.options import Door, door_of, switched_on
from pixart_cli.cli.output import Printer
from pixart_cli.core.options import BY_SETTING


def test_an_option_says_what_the_table_says():
    page = " ".join(CliRunner().invoke(app, ["gen", "--help"]).output.split())
    for key in ("kv_compression", "steps", "force"):
        assert BY_SETTING[key].help[1:] in page
    assert "--kv-compression off|auto|RATIO" in page
    assert "[off]" in page


def test_choices_are_shown_and_empty_defaults_are_not():
    assert options._setting("memory").metavar == "auto|full|offload|low"
    assert "[" not in options._setting("force", "-f").help
    assert "[" not in options._setting("negative").help


@pytest.mark.parametrize(("value", "expected"), [("1", True), (" Yes ", True), ("0", False), ("", False)])
def test_a_variable_is_switched_on_by_words_that_say_so(monkeypatch, value, expected):
    monkeypatch.setenv("PIXART_DEBUG", value)
    assert switched_on("PIXART_DEBUG") is expected
    assert switched_on("PIXART_NOT_SET", "PIXART_DEBUG") is expected


def test_a_command_may_turn_json_on_and_never_off():
    command = typer.main.get_command(typer.Typer(callback=lambda: None, invoke_without_command=True))
    context = typer.Context(command, obj=Door(Printer(as_json=True)))
    assert door_of(context).printer.as_json
    context = typer.Context(command, obj=Door(Printer()))
    assert not door_of(context).printer.as_json
    assert door_of(context, as_json=True).printer.as_json
