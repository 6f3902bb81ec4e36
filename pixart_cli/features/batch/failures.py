"""`failed.txt`: the pictures that could not be drawn, as a prompt list, each with the reason above it."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pixart_cli.core import prompt_list
from pixart_cli.core.errors import PixartError
from pixart_cli.core.locks import take
from pixart_cli.core.options import PICTURE_SETTINGS
from pixart_cli.core.prompt_writer import write_job
from pixart_cli.core.publish import publish
from pixart_cli.core.terminal import plain

_HEADER: Final = "# Pictures that failed. This is a prompt list: pixart batch draws them again.\n"
_MARK: Final = re.compile(r"# \[(?P<key>[0-9a-f]{16})\] ")
_EVERY_SECONDS: Final = 30.0
_PATIENCE, _PAUSE = 10.0, 0.02  # seconds


class Failures:
    """What failed and was not made since, in the file `path`: of this run, and of others before or beside it.

    Args:
        path: need not exist; text of others in it is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = {key for key, _ in _blocks(path) if key}
        self._settled: set[str] = set()
        self._new: dict[str, str] = {}
        self._saved = time.monotonic()

    def settle(self, fingerprint: str) -> None:
        """The picture exists: that it failed is no news any more."""
        key = fingerprint[:16]
        if key in self._open:
            self._settled.add(key)
        self._new.pop(key, None)

    def add(self, entry: prompt_list.Job, error: PixartError, fingerprint: str = "") -> None:
        """`entry` failed; its options have to say all that a command without options must know.

        Raises:
            PixartError: "disk".
        """
        text = write_job(entry.prompt, entry.options)
        key = (fingerprint or hashlib.sha256(text.encode("utf-8", "replace")).hexdigest())[:16]
        reason = plain(" ".join(f"{error.code}: {error.message}".split()))
        where = "" if error.message.startswith(entry.source) else f" ({plain(entry.source)}:{entry.line})"
        self._new[key] = f"# [{key}] {reason}{where}\n{text}"
        if time.monotonic() - self._saved > _EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file anew, or remove it when nothing is left to say.

        Raises:
            PixartError: "disk".
        """
        self._saved = time.monotonic()
        if not self._new and not self._settled:
            return
        with _held(self.path):
            self._write()

    def _write(self) -> None:
        gone = self._settled | self._new.keys()
        kept = [text for key, text in _blocks(self.path) if key not in gone]
        text = "".join([*kept, *self._new.values()])
        if not text:
            with suppress(OSError):
                self.path.unlink()
            return
        publish((_HEADER + "\n" + text).encode("utf-8", "surrogateescape"), self.path, force=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Within, no other batch reads the file to write it anew, where the system has locks to say so.

    Who holds it for longer than `_PATIENCE` has been stopped, and is not waited for.
    """
    handle = None
    if os.name == "posix":
        with suppress(OSError):  # a network's file system without locks
            handle = _lock(path)
    try:
        yield
    finally:
        if handle is not None:
            if _is_at(handle, path) and not os.fstat(handle).st_size:  # nothing came of it
                path.unlink()
            os.close(handle)


def _lock(path: Path) -> int:
    end = time.monotonic() + _PATIENCE
    while True:
        # Made if need be: two that begin the list at once would not know of each other.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if take(handle) and _is_at(handle, path):  # else it was written anew meanwhile
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(_PAUSE)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def is_failures(path: Path) -> bool:
    """Whether the file is such a list, which a batch over it keeps up to date."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER.encode()
    except OSError:
        return False


def _blocks(path: Path) -> Iterator[tuple[str, str]]:
    """(key, text) of each failure in the file; under "" what others wrote before the first."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape").replace(_HEADER, "", 1)
    except OSError:
        return
    key, block = "", ""
    for line in text.splitlines(keepends=True):
        match = _MARK.match(line)
        if match:
            if block.strip():
                yield key, block
            key, block = match["key"], ""
        block += line
    if block.strip():
        yield key, block


def whole(entry: prompt_list.Job, typed: Mapping[str, Any], seed: int | None) -> prompt_list.Job:
    """`entry` with all that was typed for the batch among its own options, for one picture of this seed."""
    own = {key: typed[key] for key in PICTURE_SETTINGS if typed.get(key) is not None} | dict(entry.options)
    if seed is not None:
        own = {key: value for key, value in own.items() if key != "count"} | {"seed": seed}
    return prompt_list.Job(prompt=entry.prompt, options=own, line=entry.line, source=entry.source)
