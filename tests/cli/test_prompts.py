"""Prompts from standard input: a pipe's end, and where streams matter a process's own."""

import os
import sys

import pytest

from pixart_cli.core.request import MAX_PROMPT_BYTES


@pytest.fixture
def sending(monkeypatch):
    """Connects standard input with a pipe's end, gives the other; both are closed in the end."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as read, os.fdopen(writer, "wb", buffering=0) as written:
        monkeypatch.setattr(sys, "stdin", read)
        yield written


@pytest.mark.parametrize("data", [b"a red sun", b"\xef\xbb\xbfa red sun\r\n", b"\n a red sun \n\n"])
def test_a_dash_reads_one_prompt_from_standard_input(pixart, sending, data):
    sending.write(data)
    sending.close()
    done = pixart("gen", "-", "--dry-run", "--json")
    assert done.json["images"][0]["request"]["prompt"] == "a red sun"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", b"empty"),
        (b"caf\xe9", b"not valid UTF-8 at byte 3"),
        (b"x" * (MAX_PROMPT_BYTES + 100), b"more than"),
    ],
)
def test_a_bad_prompt_on_standard_input_is_refused(shell, data, words):
    done = shell("gen", "-", "--dry-run", input=data)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr


def test_standard_input_is_read_only_for_a_dash(pixart, sending):
    # The pipe is never written to and not closed yet: reading it would wait for ever.
    assert pixart("gen", "sun", "--dry-run").code == 0
    assert pixart("gen", "-", "-", "--dry-run").code == 2


def test_standard_input_that_cannot_be_read_is_a_sentence(shell, tmp_path):
    with (tmp_path / "x").open("wb") as write_only:
        done = shell("gen", "-", "--dry-run", stdin=write_only)
    assert (done.returncode, b"standard input cannot be read" in done.stderr) == (2, True)
