"""The most memory that work took: what a GPU allocated, else what the process had resident.

On Linux the kernel keeps that maximum, and forgets it on request (proc(5), clear_refs); elsewhere the process
is looked at twenty times a second.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FORGET: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_SECONDS: Final = 0.05


@dataclass
class Peak:
    """`bytes` is set when the work is over. `where` is "device" or "process"."""

    where: str
    bytes: int = 0


@contextmanager
def peak_memory(device: str) -> Iterator[Peak]:
    """Measure what happens within, on `device`; what was left by earlier work is returned first."""
    gc.collect()
    if device.startswith("cuda"):
        yield from _of_gpu(device)
        return
    peak = Peak("process")
    if _forget():
        try:
            yield peak
        finally:
            peak.bytes = _resident("VmHWM")
        return
    yield from _watched(peak)


def _of_gpu(device: str) -> Iterator[Peak]:
    import torch

    peak = Peak("device")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        yield peak
    finally:
        peak.bytes = torch.cuda.max_memory_allocated(device)


def _forget() -> bool:
    """Let the kernel begin its maximum anew; False where it cannot be asked."""
    try:
        _trim()
        _FORGET.write_text("5")
        return _resident("VmHWM") > 0
    except OSError:
        return False


def _trim() -> None:
    """Freed memory that the C library keeps goes back to the system, where the library can be told."""
    import ctypes

    with contextlib.suppress(AttributeError, TypeError):  # of another C library, or on Windows
        ctypes.CDLL(None).malloc_trim(0)


def _resident(name: str) -> int:
    """Bytes of a line of /proc/self/status, 0 where there is none."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    found = [line.split() for line in lines if line.startswith(f"{name}:")]
    return int(found[0][1]) * 1024 if found else 0


def _watched(peak: Peak) -> Iterator[Peak]:
    import psutil  # type: ignore[import-untyped]

    process, over = psutil.Process(), threading.Event()

    def look() -> None:
        while True:
            peak.bytes = max(peak.bytes, int(process.memory_info().rss))
            if over.wait(_SECONDS):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
