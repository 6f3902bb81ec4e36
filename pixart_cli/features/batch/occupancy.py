"""Who else writes into a folder: every batch says that it is there, and `--exclusive` asks to be alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixart_cli.core.errors import PixartError


@contextmanager
def occupied(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Within, this process is one of those that write into `folder`, or with `exclusive` the only one.

    The lock is on the folder itself: no file of it stays. It ends with the process, however that happens.
    Pictures do not depend on it: two batches without `exclusive` are as safe as one.

    Raises:
        PixartError: "batch-locked" when another is there and one of both wants to be alone; "disk" when the
            folder cannot be made, or with `exclusive` cannot be locked.
    """
    handle = _lock(folder, exclusive=exclusive)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(folder: Path, *, exclusive: bool) -> int | None:
    try:
        import fcntl
    except ImportError:  # Windows
        if exclusive:
            what = "--exclusive needs a lock that this system does not have"
            raise PixartError("not-in-this-build", what, "Leave it out: nothing is drawn twice.") from None
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "Choose a folder you may write to with --output."
        raise PixartError("disk", f"cannot write to {folder}: {reason}", hint) from error
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        alone = "another pixart" if exclusive else "a pixart that asked to be alone (--exclusive)"
        hint = "Wait for it, or choose another folder with --output."
        raise PixartError("batch-locked", f"{alone} is writing into {folder}", hint) from None
    except OSError as error:  # a network's file system without locks
        if exclusive:
            os.close(handle)
            what = f"{folder} cannot be locked: {(error.strerror or str(error)).lower()}"
            raise PixartError("disk", what, "Leave --exclusive out: nothing is drawn twice.") from error
    return handle
