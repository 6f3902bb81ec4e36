"""Where a batch's prompts come from, a list on the disk or standard input, and which part of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import as_list, open_list
from pixart_cli.core.prompt_list import Entry, Format, Job, read_entries
from pixart_cli.core.wildcards import default_folders

if TYPE_CHECKING:
    from pixart_cli.features.batch.resolve import Resolver

STDIN: Final = "-"
_STDIN_NAME: Final = "<stdin>"


@dataclass(frozen=True)
class Survey:
    """What a list asks for: how many pictures, and of which models."""

    pictures: int
    models: tuple[str, ...]


class PromptSource:
    """The list that a command names.

    Args:
        words: a file, or - for standard input.
        form: how it is written.
        sample: so many of each prompt's combinations.

    Attributes:
        path: the file, or None for standard input.
    """

    def __init__(self, words: str, form: Format, sample: int | None) -> None:
        self.path = None if words == STDIN else Path(words)
        self._form, self._sample = form, sample
        self._stdin: TextIO | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return _STDIN_NAME if self.path is None else str(self.path)

    def jobs(self) -> Iterator[Job]:
        """The list's jobs, each read when it is asked for.

        Raises:
            PixartError: "prompt-list-invalid" or "disk".
        """
        for entry in self._entries():
            yield from entry.jobs(sample=self._sample)

    def survey(self, resolver: Resolver) -> Survey | None:
        """The whole list looked through, with every option in it; None where it can be read only once.

        Raises:
            PixartError: "prompt-list-invalid" or "disk", and as `Resolver.survey`.
        """
        if not self._can_repeat():
            return None
        pictures, models = 0, dict[str, None]()
        for entry in self._entries():
            count, model = resolver.survey(entry)
            pictures += count * entry.count(self._sample)
            models[model] = None
        return Survey(pictures, tuple(models))

    def _can_repeat(self) -> bool:
        """Whether it is no pipe, which ends by being read."""
        return self._open_stdin().seekable() if self.path is None else not self.path.is_fifo()

    def _entries(self) -> Iterator[Entry]:
        folders = default_folders(self.path)
        if self.path is None:
            stream = self._open_stdin()
            if stream.seekable():
                stream.seek(0)
            yield from read_entries(stream, name=self.name, format=self._form, wildcard_folders=folders)
            return
        with open_list(self.path) as stream:
            yield from read_entries(stream, name=self.name, format=self._form, wildcard_folders=folders)

    def _open_stdin(self) -> TextIO:
        if sys.stdin is None:
            raise PixartError("prompt-list-invalid", "standard input is closed", "Name a prompt list.")
        if self._stdin is None:
            self._stdin = as_list(sys.stdin.buffer)
        return self._stdin


def format_of(text: str) -> Any:
    """The format that was asked for.

    Raises:
        PixartError: "usage".
    """
    if text not in ("auto", "text", "csv", "jsonl"):
        raise PixartError("usage", f"no list is written in {text!r}", "Expected auto, text, csv or jsonl.")
    return text


def parse_shard(text: str | None) -> tuple[int, int]:
    """(I, N) of "I/N"; (0, 1), which is all, for None.

    Raises:
        PixartError: "usage".
    """
    if text is None:
        return 0, 1
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or int(match[2]) == 0 or int(match[1]) > int(match[2]):
        hint = "Write I/N, as 0/4 to 3/4 or 1/4 to 4/4."
        raise PixartError("usage", f"--shard cannot be {text!r}", hint)
    return int(match[1]), int(match[2])
