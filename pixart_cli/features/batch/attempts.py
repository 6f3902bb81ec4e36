"""Pictures at which processes were killed: after the third time one is passed over, or no run gets past it.

A kernel that runs out of memory kills without a word, and so does a crash in a library. Nothing here is
needed for pictures to be whole.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.locks import take
from pixart_cli.core.publish import publish
from pixart_cli.core.unfinished import SUFFIX, abandoned, prefix

MOST: Final = 3
_DRAWING: Final = f"drawing{SUFFIX}"
_KEY: Final = 16


class Attempts:
    """What is being drawn now in `folder`, and how often processes that drew something were killed.

    It counts what processes of this machine left that are gone. A folder that takes no notes has none.
    """

    def __init__(self, folder: Path) -> None:
        self._marker = folder / f"{prefix()}{_DRAWING}"
        self._notes = folder / ".pixart-killed.json"
        self._handle: int | None = None
        self._killed = _read(self._notes)
        left = [path for path in abandoned(folder) if path.name.endswith(_DRAWING)]
        for path in left:
            self._count(path)
        if left:
            self._save()

    def _count(self, marker: Path) -> None:
        with suppress(OSError):
            key = marker.read_bytes().decode("ascii", "replace")
            marker.unlink()
            if len(key) == _KEY:
                self._killed[key] = self._killed.get(key, 0) + 1

    def begin(self, fingerprint: str) -> None:
        """This picture is being drawn from now on, and the one before no more."""
        with suppress(OSError):
            if self._handle is None:
                self._marker.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                with suppress(OSError):  # where there are no locks
                    take(self._handle)
            os.pwrite(self._handle, fingerprint[:_KEY].encode(), 0)

    def refuse(self, fingerprint: str) -> PixartError | None:
        """Why this picture is not tried again, if it is not. It may be next time."""
        count = self._killed.get(fingerprint[:_KEY], 0)
        if count < MOST:
            return None
        self.settle(fingerprint)
        what = f"the process was killed {count} times while it drew this picture, and it is not tried again"
        return PixartError("process-killed", what, "See what killed it, memory most often; draw it smaller.")

    def settle(self, fingerprint: str) -> None:
        """The picture exists, or is written down as failed: what was counted is over."""
        if self._killed.pop(fingerprint[:_KEY], None) is not None:
            self._save()

    def close(self) -> None:
        """Nobody was killed."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self._marker.unlink(missing_ok=True)

    def _save(self) -> None:
        with suppress(OSError, PixartError):
            if self._killed:
                publish(json.dumps(self._killed).encode(), self._notes, force=True)
            else:
                self._notes.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: count for key, count in found.items() if isinstance(count, int)}
