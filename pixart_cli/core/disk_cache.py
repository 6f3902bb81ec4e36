"""A folder of small files that may all be thrown away: private, bounded, and never in the way.

Whatever goes wrong is a miss: a folder that cannot be made, a full disk, a file that another process has
just removed. Several processes may use one folder: each file appears whole, under its final name.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PART: Final = ".part"
# A file being written is never this old, unless its writer was killed.
_ABANDONED_NS: Final = 3600 * 10**9


@dataclass(frozen=True)
class Contents:
    """How many entries there are, and their bytes."""

    entries: int
    size_bytes: int


@dataclass(frozen=True)
class _File:
    path: Path
    size_bytes: int
    used_ns: int


class DiskCache:
    """The files ``NAME + suffix`` of `folder`, together at most `limit_bytes`, or any number for None.

    The least recently used go first; when a file was last used is its modification time.
    """

    def __init__(self, folder: Path, limit_bytes: int | None, suffix: str = "") -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._suffix = suffix

    def read(self, name: str) -> bytes | None:
        """The bytes of entry `name`, from now on the last used one; None when it cannot be read."""
        path = self._path(name)
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or self._is_too_much(status.st_size):
                    return None
                data: bytes = file.read()
        except OSError:
            return None
        with suppress(OSError):  # of a folder that may only be read
            os.utime(path)
        return data

    def write(self, name: str, data: bytes) -> bool:
        """Keep `data` as entry `name`, and remove what has become too much; whether it was kept."""
        if self._is_too_much(len(data)):
            return False
        try:
            self._make_folder()
            _put(data, self._path(name))
        except OSError:
            return False
        if self.limit_bytes is not None:
            self._trim(self.limit_bytes)
        return True

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry `name`, which may still turn out not to be readable."""
        return self._path(name).is_file()

    def contents(self) -> Contents:
        """What is kept now."""
        files = list(self._files())
        return Contents(len(files), sum(file.size_bytes for file in files))

    def clear(self) -> Contents:
        """Remove every entry, and what killed processes left; what was removed.

        Raises:
            OSError: when a file is there and cannot be removed.
        """
        removed = [file for file in self._files() if _remove(file.path)]
        for file in self._files(_PART):
            _remove(file.path)
        return Contents(len(removed), sum(file.size_bytes for file in removed))

    def _is_too_much(self, size_bytes: int) -> bool:
        return self.limit_bytes is not None and size_bytes > self.limit_bytes

    def _path(self, name: str) -> Path:
        return self.folder / (name + self._suffix)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.folder.stat().st_mode) & 0o077:
            self.folder.chmod(0o700)

    def _files(self, suffix: str | None = None) -> Iterator[_File]:
        """The entries, or the files that end in another `suffix`; none of a folder that is not there."""
        wanted = self._suffix if suffix is None else suffix
        try:
            found = list(os.scandir(self.folder))
        except OSError:
            return
        for entry in found:
            hidden = entry.name.startswith(".")
            if entry.name.endswith(wanted) and hidden == (wanted == _PART):
                with suppress(OSError):  # it has just gone
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield _File(Path(entry.path), status.st_size, status.st_mtime_ns)

    def _trim(self, limit_bytes: int) -> None:
        """Remove the least recently used until the rest is few enough bytes, and what was abandoned."""
        files = sorted(self._files(), key=lambda file: file.used_ns)
        excess = sum(file.size_bytes for file in files) - limit_bytes
        for file in files:
            if excess <= 0:
                break
            excess -= file.size_bytes
            with suppress(OSError):
                _remove(file.path)
        newest = max((file.used_ns for file in files), default=0)
        for file in self._files(_PART):
            if file.used_ns < newest - _ABANDONED_NS:
                with suppress(OSError):
                    _remove(file.path)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, and no pipe that somebody put in its place and that would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _put(data: bytes, path: Path) -> None:
    """Not flushed to the disk: what a power loss leaves of it, a checksum tells."""
    handle, temporary = tempfile.mkstemp(prefix=".pixart-", suffix=_PART, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _remove(path: Path) -> bool:
    """Whether it was this call that removed `path`; another process may have been first."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
