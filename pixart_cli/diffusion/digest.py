"""What exactly a file holds: its sha256, from its name in the hub's cache, from memory, or from reading it.

Reading a text encoder of 19 GB takes longer than drawing with it. So what was read once is remembered on
the disk, under a name made of everything that tells a file from its successor: place, size and times.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.core.paths import cache_dir

_BLOCK: Final = 1 << 20
_HEX: Final = re.compile(r"[0-9a-f]{64}")
# Less is read again each time: that takes a moment, and leaves nothing behind.
_LONG_BYTES: Final = 64 << 20
_MEMORY_BYTES: Final = 1 << 20
# A file changed again within the grain of its file system's clock would look as it did before.
_SETTLED_NS: Final = 3 * 10**9

# Path, inode, size, and when contents and entry were changed last, in ns.
Identity = tuple[str, int, int, int, int]


def digests(files: Sequence[Path]) -> tuple[str, ...]:
    """Hex of the sha256 over the first file's bytes, over the first two files', …, over all of them."""
    return _digests(tuple(_identity(path) for path in files))


def promised(path: Path) -> str | None:
    """What the hub said of a file in its cache: the sha256 that is its blob's name, with size and time.

    None for any other file. The bytes are not read; a blob that took another's place has another time.
    """
    blob = Path(os.path.realpath(path))
    if blob.parent.name != "blobs" or not _HEX.fullmatch(blob.name):
        return None
    status = blob.stat()
    return f"{blob.name}:{status.st_size}:{status.st_mtime_ns}"


def _identity(path: Path) -> Identity:
    status = path.stat()
    return os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.cache
def _digests(files: tuple[Identity, ...]) -> tuple[str, ...]:
    if sum(size for _, _, size, _, _ in files) < _LONG_BYTES:
        return _read(files)
    memory = DiskCache(cache_dir() / "digests", _MEMORY_BYTES)
    name = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    known = _unsealed(name, memory.read(name), len(files))
    if known is not None:
        return known
    started, found = time.time_ns(), _read(files)
    if _is_settled(files, started):
        memory.write(name, _sealed(name, found))
    return found


def _read(files: Sequence[Identity]) -> tuple[str, ...]:
    digest, found = hashlib.sha256(), []
    for path, *_ in files:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        found.append(digest.hexdigest())
    return tuple(found)


def _is_settled(files: Sequence[Identity], started_ns: int) -> bool:
    """Whether what was read is what the identities stand for, and will be as long as they do."""
    unchanged = all(_identity(Path(file[0])) == file for file in files)
    return unchanged and all(max(file[3:]) < started_ns - _SETTLED_NS for file in files)


def _sealed(name: str, found: Sequence[str]) -> bytes:
    """`found` as bytes that tell whether they are whole, and whose they are."""
    text = " ".join(found)
    return f"{text} {hashlib.sha256(f'{name} {text}'.encode()).hexdigest()}".encode()


def _unsealed(name: str, data: bytes | None, count: int) -> tuple[str, ...] | None:
    words = (data or b"").decode("ascii", "replace").split()[:-1]
    return tuple(words) if len(words) == count and data == _sealed(name, words) else None
