"""Prompts from standard input, where streams matter."""

import json
import os

import pytest

from pixart_cli.core.request import MAX_PROMPT_BYTES


@pytest.mark.parametrize("data", [b"a red sun", b"\xef\xbb\xbfa red sun\r\n", b"\n a red sun \n\n"])
def test_a_dash_reads_one_prompt_from_standard_input(shell, data):
    done = shell("gen", "-", "--dry-run", "--json", input=data)
    assert json.loads(done.stdout)["images"][0]["request"]["prompt"] == "a red sun"


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


def test_standard_input_is_read_only_for_a_dash(shell):
    reader, writer = os.pipe()  # never written to, never closed: reading it would wait for ever
    done = shell("gen", "sun", "--dry-run", stdin=reader)
    os.close(reader), os.close(writer)
    assert done.returncode == 0
    assert shell("gen", "-", "-", "--dry-run").returncode == 2


def test_standard_input_that_cannot_be_read_is_a_sentence(shell, tmp_path):
    with (tmp_path / "x").open("wb") as write_only:
        done = shell("gen", "-", "--dry-run", stdin=write_only)
    assert (done.returncode, b"standard input cannot be read" in done.stderr) == (2, True)
