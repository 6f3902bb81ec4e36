"""The one printer: what goes where in text, JSON and quiet, and what the streams survive."""

import io
import json
import sys
from pathlib import Path

import pytest

from pixart_cli.cli import output
from pixart_cli.cli.output import Printer, size_words, table, time_words
from pixart_cli.core.errors import PixartError

MISTAKE = PixartError("size-invalid", "no \x1b size", "Did \x07 you?")


def test_text_mode(capfd):
    printer = Printer()
    printer.path(Path("a b.png"))
    printer.data("rows\nof data")
    printer.document("x/1", never="seen")
    printer.say("waiting")
    printer.fail(MISTAKE)
    out, err = capfd.readouterr()
    assert out == "a b.png\nrows\nof data\n"
    assert err == "waiting\nerror: no \\x1b size\nhint: Did \\x07 you?\n"


def test_json_mode_puts_one_document_on_standard_output(capfd):
    printer = Printer(as_json=True)
    printer.path(Path("a.png"))
    printer.data("rows")
    printer.warn("careful")
    printer.document("x/1", value="é\x7f\x9b\ud800")
    out, err = capfd.readouterr()
    assert json.loads(out) == {
        "schema": "x/1",
        "ok": True,
        "value": "é\x7f\x9b\ud800",
        "warnings": ["careful"],
    }
    assert out.isascii()
    assert "\x7f" not in out
    assert err == "warning: careful\n"


def test_a_failure_s_document_holds_what_was_attached(capfd):
    printer = Printer(as_json=True)
    printer.attach("y/1", images=[1])
    printer.fail(MISTAKE)
    document = json.loads(capfd.readouterr().out)
    assert (document["schema"], document["ok"], document["images"]) == ("y/1", False, [1])
    assert document["error"] == {
        "code": "size-invalid", "message": "no \x1b size", "hint": "Did \x07 you?", "exit": 2,
    }  # fmt: skip


def test_never_two_documents(capfd):
    printer = Printer(as_json=True)
    printer.document("x/1")
    printer.fail(MISTAKE)
    out, err = capfd.readouterr()
    assert json.loads(out)["ok"] is True
    assert err.startswith("error: ")


def test_quiet_keeps_warnings_and_errors(capfd):
    printer = Printer()
    printer.quiet = True
    printer.say("waiting")
    printer.hint("you could")
    printer.warn("careful")
    printer.warn("careful")
    printer.fail(MISTAKE)
    assert [line.split(":")[0] for line in capfd.readouterr().err.splitlines()] == [
        "warning",
        "error",
        "hint",
    ]


def test_a_name_is_exact_for_a_program(capfdbinary):
    printer = Printer()
    printer.print0 = True
    printer.path(Path("a\nb\udce9.png"))
    assert capfdbinary.readouterr().out == b"a\nb\xe9.png\0"


def test_a_name_is_harmless_for_a_terminal(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(sink, encoding="ascii"))
    Printer().path(Path("\x1b[2J山.png"))
    assert sink.getvalue() == b"\\x1b[2J\\u5c71.png\n"


def test_closed_standard_output_is_an_error_for_data_and_none_for_names(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    Printer().path(Path("a.png"))
    with pytest.raises(PixartError, match="standard output is closed"):
        Printer().data("rows")


def test_closed_standard_error_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    Printer().fail(MISTAKE)
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    Printer().fail(MISTAKE)
    assert not output.is_terminal(gone)


def test_a_question_is_answered_no_by_anything_but_yes(monkeypatch, capfd):
    for text, agreed in (("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("maybe\n", False)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert Printer().ask("Now?") is agreed
    assert capfd.readouterr().err.startswith("Now? [y/N] ")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (19_300_000_000, "19.3 GB"), (2e15, "2000.0 TB")],
)
def test_sizes_for_people(count, words):
    assert size_words(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (99, "99.0 s"), (240, "4 min"), (9000, "2.5 h")]
)
def test_times_for_people(seconds, words):
    assert time_words(seconds) == words


def test_columns_are_aligned_and_lines_end_clean():
    assert table([("a", "bb", ""), ("ccc", "d", "e")]) == "a    bb\nccc  d   e"


def test_events_are_a_line_each_and_the_last_tells_the_error(capfd):
    printer = Printer()
    printer.as_events = True
    printer.path(Path("a.png"))
    printer.data("text")
    printer.event("image", path="a\x7f\n.png")
    printer.fail(PixartError("disk", "full", "Free some."))
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == '{"event": "image", "path": "a\\u007f\\n.png"}'
    told = json.loads(lines[1])
    assert (told["event"], told["ok"], told["error"]["exit"], len(lines)) == ("done", False, 9, 2)


def test_without_events_none_is_told(capfd):
    Printer().event("image", path="a.png")
    assert capfd.readouterr().out == ""
