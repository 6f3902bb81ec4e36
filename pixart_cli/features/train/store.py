"""Arrays that take long to make: kept in a file, and gone on with where a stopped run left them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

_ROUNDS_PER_SAVE = 32


def stored(
    path: Path, shape: tuple[int, ...], make: Callable[[range], np.ndarray], *, at_once: int
) -> np.ndarray:
    """The float16 array of `shape` in `path`; rows that are missing come from `make`, `at_once` at a time.

    A whole file is only read: other processes may be reading it too.
    """
    count = shape[0]
    done_path = path.with_suffix(".done")
    done = int(done_path.read_text()) if path.exists() and done_path.exists() else 0
    if done and done == count:
        whole: np.ndarray = np.load(path, mmap_mode="r")
        return whole
    store = np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=np.float16, shape=shape)
    for start in range(done, count, at_once):
        rows = range(start, min(start + at_once, count))
        store[rows.start : rows.stop] = make(rows)
        if start // at_once % _ROUNDS_PER_SAVE == _ROUNDS_PER_SAVE - 1 or rows.stop == count:
            store.flush()
            done_path.write_text(str(rows.stop))
    return store
