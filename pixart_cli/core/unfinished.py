"""Files and folders being written: whose they are, and what becomes of those whose writer was killed."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pixart_cli.core.locks import take

SUFFIX: Final = ".part"
_UNFINISHED: Final = re.compile(r"\.pixart-(?P<pid>[0-9]{1,10})-(?P<host>[0-9a-f]{8})-.*\.part")
_ABANDONED_SECONDS: Final = 24 * 3600


def prefix() -> str:
    """How the name of an unfinished file begins: who writes it."""
    return f".pixart-{os.getpid()}-{_host()}-"


@functools.cache
def _host() -> str:
    """This machine, for folders that several share, without its name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Within, `path`, a file or folder that this process writes, is locked where there are locks.

    Processes in another container, whose numbers mean nothing here, see by that that it is being written.
    """
    descriptor = None
    if os.name == "posix":  # elsewhere what is open can be neither renamed nor removed
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            take(descriptor)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_held(path: Path) -> bool:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return not take(descriptor)
        finally:
            os.close(descriptor)
    return False


def sweep(folder: Path) -> int:
    """Remove what processes that were killed left unfinished in `folder`; gives how many that were.

    Such a process is one of this machine that is gone, or had this one's number, as the first process of a
    container that was started again, and holds what it wrote no more. What others left is removed after a
    day. A folder that cannot be read or written is left as it is.
    """
    removed = 0
    for path in abandoned(folder):
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
    return removed


def abandoned(folder: Path) -> list[Path]:
    """The files and folders that :func:`sweep` would remove."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _UNFINISHED.fullmatch(entry.name)
            if match and _is_abandoned(entry, int(match["pid"]), match["host"]):
                found.append(Path(entry.path))
    return found


def _is_abandoned(entry: os.DirEntry[str], pid: int, host: str) -> bool:
    if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
        return False
    if host == _host():
        import psutil  # type: ignore[import-untyped]

        gone = pid == os.getpid() or not psutil.pid_exists(pid)
        return bool(gone) and not _is_held(Path(entry.path))
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS
