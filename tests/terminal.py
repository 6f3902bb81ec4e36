"""A person at a terminal, for programs that ask."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest


class Person:
    """Someone at the far end of a terminal who typed something, and what they `seen` there since."""

    def __init__(self, leader: int, typed: bytes) -> None:
        os.write(leader, typed)
        self.seen = ""
        self._thread = threading.Thread(target=self._look, args=(leader,))
        self._thread.start()

    def _look(self, leader: int) -> None:
        seen = b""
        with contextlib.suppress(OSError):  # the other side was closed
            while block := os.read(leader, 4096):
                seen += block
        self.seen = seen.decode()

    def leave(self) -> str:
        """What was seen, once the other side is closed."""
        self._thread.join()
        return self.seen


@contextlib.contextmanager
def terminal(typed: bytes) -> Iterator[tuple[Person, int]]:
    """A person who `typed` that, and the program's side of their terminal, to be closed by the program."""
    leader, follower = os.openpty()
    try:
        yield Person(leader, typed), follower
    finally:
        os.close(leader)


def answer(arguments: Sequence[str], typed: bytes, **options: Any) -> tuple[int, str]:
    """The exit code of `pixart`, and what a person at a terminal saw who `typed` that; as `Popen` takes."""
    with terminal(typed) as (person, follower):
        process = subprocess.Popen(
            [sys.executable, "-m", "pixart_cli", *arguments],
            stdin=follower, stderr=follower, stdout=subprocess.DEVNULL, **options,
        )  # fmt: skip
        os.close(follower)
        return process.wait(), person.leave()


def answer_here(arguments: Sequence[str], typed: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The same in this process."""
    from pixart_cli.cli.app import run

    with terminal(typed) as (person, follower), monkeypatch.context() as patch:
        with open(os.dup(follower)) as keys, open(follower, "w") as screen:
            patch.setattr(sys, "stdin", keys)
            patch.setattr(sys, "stderr", screen)
            code = run(list(arguments))
        return code, person.leave()
