"""A lock on what a descriptor is open for; it ends with the descriptor, and so with the process."""

from __future__ import annotations

import errno
import os


def take(descriptor: int) -> bool:
    """Lock what `descriptor` is open for, a file or a folder; False where another descriptor has it locked.

    Raises:
        OSError: where the system, or the disk, has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
