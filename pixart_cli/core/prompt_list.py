"""Prompt lists: what to draw, a prompt a line, with options of its own below it.

The list is read line by line: its length costs no memory. docs/batch.md is the page for those who write one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Final, Literal, TextIO, get_args

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import Line, read_lines
from pixart_cli.core.option_words import OPTION_NAMES, read_options, split_words
from pixart_cli.core.prompt_table import Row, csv_rows, detect, jsonl_rows
from pixart_cli.core.prompt_template import Place, Template, parse_template
from pixart_cli.core.request import check_text
from pixart_cli.core.wildcards import Wildcards

Format = Literal["auto", "text", "csv", "jsonl"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
_OPTION: Final = re.compile(r"--[a-z0-9-]+(?![^ \t=])")
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One prompt of a list as it is written, alternatives and all.

    `prompt` is its template, `place` its text and where it stands; the rest as in :class:`Job`.
    """

    prompt: Template
    place: Place
    options: Mapping[str, object]
    line: int
    source: str

    def count(self, sample: int | None = None) -> int:
        """How many jobs it makes, known without making them."""
        return self.prompt.count if sample is None else min(sample, self.prompt.count)

    def jobs(self, *, sample: int | None = None, sample_seed: int = 0) -> Iterator[Job]:
        """A job a combination of its alternatives, or `sample` of them, in order.

        Raises:
            PixartError: "prompt-list-invalid" for a combination that is empty, too long or not valid text.
        """
        total = self.prompt.count
        numbers = range(total) if sample is None or sample >= total else self._sample(sample, sample_seed)
        for number in numbers:
            prompt = self.prompt.pick(number)
            self._check(prompt)
            yield Job(prompt=prompt, options=self.options, line=self.line, source=self.source)

    def _check(self, prompt: str) -> None:
        try:
            check_text(prompt, "the prompt")
        except PixartError as error:
            raise self.place.wrong(0, error.message, error.hint) from None
        if not prompt.strip():
            raise self.place.wrong(0, "the prompt is empty", "Say what to draw.")

    def _sample(self, size: int, seed: int) -> list[int]:
        """`size` different numbers below the count, which follow from `seed` and the text alone.

        Every set of numbers is as likely as any other (Floyd's algorithm, Bentley 1987).
        """
        total = self.prompt.count
        found: set[int] = set()
        for last in range(total - size, total):
            number = _number(f"{seed} {last - total} {self.place.text}", last + 1)
            found.add(last if number in found else number)
        return sorted(found)


def _number(key: str, below: int) -> int:
    """A number from 0 to `below` - 1 that follows from `key`, on every machine and version alike."""
    digits = sha256(key.encode("utf-8", "surrogatepass")).digest()
    while len(digits) * 8 < below.bit_length() + 64:  # what is left of even chances is beyond notice
        digits += sha256(digits).digest()
    return int.from_bytes(digits, "big") % below


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
        source: lines of text, with or without their ends; best opened by `list_lines.open_list`.
        name: what messages call it.
        format: how it is written; "auto" goes by the ending of `name` and the first line.
        sample: so many of the combinations of a prompt's alternatives instead of all, the same for one
            `sample_seed` and one line, wherever the line stands.
        sample_seed: any whole number.
        wildcard_folders: where the lists are that ``{_colour_}`` names, the first folder before the next.

    Raises:
        PixartError: "prompt-list-invalid" naming list, line and column; "disk" when it cannot be read.
    """
    for entry in read_entries(source, name=name, format=format, wildcard_folders=wildcard_folders):
        yield from entry.jobs(sample=sample, sample_seed=sample_seed)


def read_entries(
    source: TextIO | Iterable[str],
    *,
    name: str,
    format: Format = "auto",  # noqa: A002 -- the word of the option
    wildcard_folders: Sequence[Path] = (),
) -> Iterator[Entry]:
    """The prompts of a list before their alternatives are chosen: as :func:`read_jobs`, but to be counted."""
    if format not in FORMATS:
        raise PixartError("usage", f"no format is named {format!r}", f"Expected one of {', '.join(FORMATS)}.")
    lists = Wildcards(wildcard_folders)
    for row in _rows(read_lines(source, name=name), name, format):
        template = parse_template(row.prompt, lists)
        yield Entry(prompt=template, place=row.prompt, options=row.options, line=row.number, source=name)


def _rows(lines: Iterable[Line], name: str, how: Format) -> Iterator[Row]:
    """The rows of a list in whatever format; comments and blank lines above all others are passed over."""
    rest = iter(lines)
    for first in rest:
        if not _says_nothing(first.stripped()):
            readers = {"text": _text_rows, "csv": csv_rows, "jsonl": jsonl_rows}
            yield from readers[detect(first, name) if how == "auto" else how](chain([first], rest))


def _says_nothing(bare: Line) -> bool:
    return not bare.text or bare.text.startswith("#")


def _text_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """One a prompt, with the options of the indented lines below it."""
    row: Row | None = None
    for line in lines:
        bare = line.stripped()
        if _says_nothing(bare):
            continue
        if not line.text.startswith(_INDENT):
            if row is not None:
                yield row
            row = _prompt_row(bare)
        elif row is None:
            hint = "Begin a prompt at the line's start."
            raise bare.wrong(0, "options, and no prompt above them", hint)
        else:
            row.options = read_options(split_words(bare), row.options)
    if row is not None:
        yield row


def _prompt_row(line: Line) -> Row:
    match = _OPTION.match(line.text)
    if match and match[0] in OPTION_NAMES:
        hint = "Indent options below their prompt, or write \\- for the character."
        raise line.wrong(0, "a prompt that begins like an option", hint)
    return Row(line, line.number, {})
