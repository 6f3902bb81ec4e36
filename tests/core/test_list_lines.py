"""Lines of lists: every kind of line end, and every kind of file that is no list."""

import io
from itertools import islice

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import MAX_LINE_CHARACTERS, Line, as_list, open_list, read_lines


def texts(data):
    return [line.text for line in read_lines(as_list(io.BytesIO(data)), name="x.txt")]


def refused(data):
    with pytest.raises(PixartError) as caught:
        texts(data)
    assert (caught.value.code, caught.value.exit_code) == ("prompt-list-invalid", 2)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []), (b"a", ["a"]), (b"a\nb\n", ["a", "b"]), (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\n\r\nb", ["a", "", "b"]), (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        ("naïve 東京 🌇\n".encode(), ["naïve 東京 🌇"]),
        # What str.splitlines would part is part of the line.
        ("a\x0bb\x0cc\x85d\u2028e\n".encode(), ["a\x0bb\x0cc\x85d\u2028e"]),
    ],
)  # fmt: skip
def test_lines_end_with_lf_or_crlf(data, lines):
    assert texts(data) == lines


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\x00c", "x.txt:2:2: a NUL character"),
        (b"a\nb\xe9c", "x.txt:2:2: not valid UTF-8"),
        (b"a\rb\rc", "x.txt:1:2: a carriage return inside the line"),
        ("a\n".encode("utf-16"), "x.txt:1:1: this is UTF-16"),
        ("a\n".encode("utf-16-be").join([b"\xfe\xff", b""]), "x.txt:1:1: this is UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "x.txt:1:1: not valid UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data, message):
    assert refused(data) == message


def test_a_line_of_the_most_is_read_and_one_more_is_not():
    most = b"x" * MAX_LINE_CHARACTERS
    assert [len(text) for text in texts(most + b"\r\n" + most)] == [MAX_LINE_CHARACTERS] * 2
    assert refused(b"a\n" + most + b"x\n") == "x.txt:2:1000001: a line of more than 1000000 characters"


class Endless(io.RawIOBase):
    """Zeros for ever, as /dev/zero has them: counts what was asked of it."""

    given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.given += len(buffer)
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_an_endless_line_is_not_read_to_its_end():
    endless = Endless()
    with pytest.raises(PixartError):
        next(read_lines(as_list(io.BufferedReader(endless)), name="x"))
    assert endless.given < 4 * MAX_LINE_CHARACTERS


def test_lines_are_read_when_they_are_asked_for():
    def source():
        yield "a\n"
        yield "b"
        raise AssertionError("read too far")

    assert [line.text for line in islice(read_lines(source(), name="x"), 2)] == ["a", "b"]


def test_a_strict_reader_s_complaint_names_the_list():
    source = io.TextIOWrapper(io.BytesIO(b"a\nb\xff"), encoding="utf-8")
    with pytest.raises(PixartError, match="not valid UTF-8"):
        list(read_lines(source, name="x.txt"))


def test_a_disk_that_fails_is_exit_9():
    class Broken(io.StringIO):
        def readline(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(PixartError) as caught:
        list(read_lines(Broken(), name="x.txt"))
    assert (caught.value.code, caught.value.message) == ("disk", "cannot read x.txt: input/output error")


def test_places_survive_stripping():
    line = Line("x", 3, " \t a b ").stripped()
    assert (line.text, line.place(), line.place(0), line.place(2)) == ("a b", "x:3", "x:3:4", "x:3:6")


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "prompts.txt").write_text("a\n")
    with open_list(tmp_path / "prompts.txt") as file:
        assert [line.text for line in read_lines(file, name="x")] == ["a"]
    cases = [
        (tmp_path / "promts.txt", "prompt-list-invalid", f"Did you mean {tmp_path}/prompts.txt?"),
        (tmp_path / "zzz", "prompt-list-invalid", "Name a prompt list, or - to send one."),
        (tmp_path / "no" / "x.txt", "prompt-list-invalid", "Name a prompt list, or - to send one."),
        (tmp_path / "prompts.txt" / "x", "prompt-list-invalid", "Name a prompt list, or - to send one."),
        (tmp_path, "prompt-list-invalid", "Name a prompt list."),
        (tmp_path / ("x" * 300), "disk", "Name a list that can be read."),
        (tmp_path / "a\x00b", "disk", "Name a list that can be read."),
    ]
    for path, code, hint in cases:
        with pytest.raises(PixartError) as caught:
            open_list(path)
        assert (caught.value.code, caught.value.hint) == (code, hint)
