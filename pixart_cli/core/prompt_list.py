"""Prompt lists: what to draw, a prompt a line, with options of its own below it.

The list is read line by line: its length costs no memory. docs/batch.md is the page for those who write one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import Line, read_lines
from pixart_cli.core.option_words import read_options, split_words

Format = Literal["auto", "text", "csv", "jsonl"]
_INDENT: Final = (" ", "\t")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One prompt to draw, alternatives chosen, and what was said of it alone.

    `options` holds checked values by the keys of `core.options.PICTURE_SETTINGS`. `line`, from 1, is that of
    the prompt in the list named `source`.
    """

    prompt: str
    options: Mapping[str, object]
    line: int
    source: str


@dataclass
class _Entry:
    line: Line
    options: dict[str, Any] = field(default_factory=dict)


def read_jobs(
    source: TextIO | Iterable[str],
    *,
    name: str,
    format: Format = "auto",  # noqa: A002 -- the word of the option
    sample: int | None = None,
    sample_seed: int = 0,
    wildcard_folders: Sequence[Path] = (),
) -> Iterator[Job]:
    """The jobs of the prompt list `source`, in order, each read when it is asked for.

    Args:
        source: lines of text, with or without their ends; best opened by :func:`open_list`.
        name: what messages call it.
        format: how it is written; "auto" goes by the ending of `name` and the first line.
        sample: so many of the combinations of a prompt's alternatives instead of all, the same for one
            `sample_seed` and one line, wherever the line stands.
        wildcard_folders: where the lists are that ``{_colour_}`` names, the first folder before the next.

    Raises:
        PixartError: "prompt-list-invalid" naming list, line and column; "disk" when it cannot be read.
    """
    for entry in _text_entries(read_lines(source, name=name)):
        line = entry.line
        yield Job(prompt=line.text.strip(), options=entry.options, line=line.number, source=name)


def _text_entries(lines: Iterable[Line]) -> Iterator[_Entry]:
    """One a prompt, with the options of the indented lines below it."""
    entry: _Entry | None = None
    for line in lines:
        bare = line.text.strip()
        if not bare or bare.startswith("#"):
            continue
        if not line.text.startswith(_INDENT):
            if entry is not None:
                yield entry
            entry = _Entry(line)
        elif entry is None:
            raise _orphan(line)
        else:
            entry.options = read_options(split_words(line), entry.options)
    if entry is not None:
        yield entry


def _orphan(line: Line) -> PixartError:
    what = "options, and no prompt above them"
    return line.wrong(len(line.text) - len(line.text.lstrip()), what, "Begin a prompt at the line's start.")
