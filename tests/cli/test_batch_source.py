"""Where prompts come from, and what can be known before the first is drawn."""

import io
import os
import sys

import pytest

from pixart_cli.cli.batch_source import PromptSource
from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.resolve import Resolver


@pytest.fixture
def resolver(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Resolver({}, cwd=tmp_path)


class Pipe(io.BytesIO):
    """What can be read once."""

    def seekable(self) -> bool:
        return False


def test_a_file_is_surveyed_and_read_again(resolver, tmp_path):
    (tmp_path / "list.txt").write_text("a {b|c}\n  -n 3\nmoon\n")
    source = PromptSource("list.txt", "auto", None)
    survey = source.survey(resolver)
    assert (survey.pictures, survey.models) == (7, ("mini",))
    assert [job.prompt for job in source.jobs()] == ["a b", "a c", "moon"]
    assert PromptSource("list.txt", "auto", 1).survey(resolver).pictures == 4


def test_a_pipe_is_read_once_and_a_redirected_file_twice(resolver, monkeypatch):
    for kind, known in ((Pipe, None), (io.BytesIO, 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(kind(b"sun\nmoon\n")))
        source = PromptSource("-", "auto", None)
        survey = source.survey(resolver)
        assert (survey and survey.pictures) == known
        assert [(job.prompt, job.source) for job in source.jobs()] == [
            ("sun", "<stdin>"),
            ("moon", "<stdin>"),
        ]


def test_lists_beside_the_list_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night" / "wildcards").mkdir(parents=True)
    (tmp_path / "night" / "wildcards" / "colour.txt").write_text("red\nblue\n")
    (tmp_path / "night" / "list.txt").write_text("{_colour_} sun\n")
    jobs = PromptSource("night/list.txt", "auto", None).jobs()
    assert [job.prompt for job in jobs] == ["red sun", "blue sun"]


def test_nothing_to_read_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PixartError, match="standard input is closed"):
        list(PromptSource("-", "auto", None).jobs())
    with pytest.raises(PixartError, match="no file"):
        list(PromptSource("nonsuch.txt", "auto", None).jobs())


def test_a_list_that_is_not_there_is_told_before_anything_else(resolver):
    with pytest.raises(PixartError, match="no file"):
        PromptSource("nonsuch.txt", "auto", None).survey(resolver)


def test_a_named_pipe_is_a_pipe(resolver, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert PromptSource("pipe", "auto", None).survey(resolver) is None
