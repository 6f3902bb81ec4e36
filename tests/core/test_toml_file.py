"""Hand-written TOML: every complaint names the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import BY_SETTING
from pixart_cli.core.toml_file import MAX_BYTES, line_of, place_of, read_settings


def read(path: Path, data: str | bytes) -> dict[str, object]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_settings(path, BY_SETTING, code="config-invalid")


@pytest.mark.parametrize(
    "data",
    [
        'steps = 30\nres = "4k"\n',
        b'\xef\xbb\xbfsteps = 30\nres = "4k"',
        'steps = 30\r\n# hm\r\nres = "4k"\r\n',
    ],
)
def test_a_file_is_read_with_or_without_bom_and_crlf(tmp_path: Path, data: str | bytes) -> None:
    assert read(tmp_path / "a.toml", data) == {"steps": 30, "res": "4k"}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "a.toml", "# nothing\n") == {}


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ("\n\nstepps = 3\n", "a.toml:3: unknown key 'stepps'", "Did you mean 'steps'?"),
        ("res = '4k'\nsteps = 'x'\n", "a.toml:2: steps cannot be 'x'", "Expected a whole number."),
        ("# c\nseed=1\n'steps'  = 0\n", "a.toml:3: steps cannot be 0", "The least is 1."),
        ("\nres = '4kk'\n", "a.toml:2: no size is named '4kk'", "Did you mean '4k'"),
        ("negative = '''\nsteps = 3\n'''\nsteps = 0\n", "a.toml:4: steps cannot be 0", "The least is 1."),
        ("seed = 1\n[steps]\nx = 1\n", "a.toml:2: steps cannot be {'x': 1}", "Expected a whole number."),
        ("steps = \n", "a.toml:1: Invalid value, column 9", "text in quotes"),
        ("seed = 1\nseed = 2\n", "a.toml:2: Cannot overwrite a value", "text in quotes"),
        ("seed = 1\nres = 'x\n\n", "a.toml:2: ", "Write one 'key = value' a line"),
        ("seed = 1\nsteps =", "a.toml:2: Invalid value (at end of document)", "Write one"),
        ("steps = 1\nseed = " + "9" * 5000 + "\n", "a.toml:2: a number that long", "Write a shorter one."),
        ("seed = 0x" + "f" * 5000, "a.toml:1: seed cannot be a number that long", "The most is"),
        ("json = 0x" + "f" * 5000, "a.toml:1: json cannot be a number that long", "Expected true or false."),
        ("kv_compression = 0x" + "f" * 5000, "a.toml:1: kv_compression cannot be", "Expected one of off"),
        ("res = 'x", "a.toml:1: ", "Write one 'key = value' a line"),
        (b"seed = 1\nres = '\xff'\n", "a.toml:2: byte 16 is not UTF-8", "Save it as UTF-8."),
        ("#" * (MAX_BYTES + 1), "longer than 65536 bytes", "a few lines"),
        ("x = " + "[" * 5000, "a.toml", "Write one"),
    ],
)  # fmt: skip
def test_complaints_name_file_and_line(tmp_path: Path, data: str | bytes, message: str, hint: str) -> None:
    with pytest.raises(PixartError) as caught:
        read(tmp_path / "a.toml", data)
    assert caught.value.code == "config-invalid"
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PixartError, match=r"cannot read .*: is a directory"):
        read_settings(tmp_path, BY_SETTING, code="config-invalid")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2", "b", 2),
        ('"b" = 2', "b", 1),
        ("[[b]]\n", "b", 1),
        ("b.c = 1", "b", 1),
        ("ab = 1\nb=2", "b", 2),
        ("x = '''\nb = 1\nb = 2\n'''\n\n  b = 3", "b", 6),
        ("a = 1", "b", 1),
    ],
)
def test_the_line_of_a_key(text: str, key: str, line: int) -> None:
    assert line_of(text, key) == line


def test_the_place_of_a_key(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("seed = 1\nmodel = 'x'\n")
    assert place_of(tmp_path / "a.toml", "model") == f"{tmp_path}/a.toml:2"
