"""Where rows wait between two passes: on the device, in pinned main memory, or in a memory-mapped file."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.machine import probe

TIERS: Final = ("device", "pinned", "mapped")
_ZEROS: Final = bytes(1 << 20)


@dataclass
class Place:
    """Where maps of `dtype`, computed on `device`, wait: `tier` is one of :data:`TIERS` and may change."""

    device: torch.device
    dtype: torch.dtype
    tier: str


def choose_tier(device: torch.device, needed: int, storage: str = "auto") -> str:
    """The first of :data:`TIERS` that holds `needed` bytes with room to work beside; `storage` if named.

    On the processor, pinned memory is the device's own memory.

    Raises:
        ValueError: if `storage` is neither "auto" nor a tier.
    """
    if storage not in {"auto", *TIERS}:
        raise ValueError(f"storage must be auto or one of {', '.join(TIERS)}, not {storage!r}")
    on_cpu = device.type == "cpu"
    if storage != "auto":
        return "device" if on_cpu and storage == "pinned" else storage
    on_device, main = _free(device)
    if needed <= 0.7 * on_device:
        return "device"
    return "pinned" if not on_cpu and needed <= 0.5 * main else "mapped"


def lower_tier(device: torch.device, tier: str) -> str | None:
    """The tier below `tier`, or None below the last."""
    below = TIERS[TIERS.index(tier) + 1 :]
    usable = [name for name in below if name != "pinned" or device.type != "cpu"]
    return usable[0] if usable else None


def _free(device: torch.device) -> tuple[int, int]:
    """Free bytes on `device` and in main memory; what torch has reserved and not used counts as free."""
    machine = probe()
    if device.type == "cpu":
        return machine.free_memory_bytes, machine.free_memory_bytes
    name = f"cuda:{device.index or 0}" if device.type == "cuda" else device.type
    free = next((a.free_bytes for a in machine.accelerators if a.device == name), 0)
    if device.type == "cuda":
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free, machine.free_memory_bytes


class Mapping:
    """`size` bytes that pages of are taken when first written to and given back when no longer needed.

    torch's allocator would serve as memory, were maps not freed in other pieces than they are asked for
    in: the heap then grows to several times what is in use.
    """

    def __init__(self, size: int) -> None:
        try:
            self._map = self._open(size)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError("not enough memory for a feature map") from error
            raise

    def _open(self, size: int) -> mmap.mmap:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def tensor(self, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor over the numbers from `offset` on. It keeps the mapping alive."""
        count = torch.Size(shape).numel()
        offset *= dtype.itemsize
        return torch.frombuffer(self._map, dtype=dtype, count=count, offset=offset).view(shape)

    def forget(self, start: int, stop: int) -> None:
        """Bytes `start` to `stop` will not be read again: their whole pages are given back."""
        self._advise("MADV_DONTNEED", start, stop)

    def _advise(self, advice: str, start: int, stop: int) -> None:
        page = mmap.PAGESIZE
        start, stop = -(-start // page) * page, stop // page * page
        code = getattr(mmap, advice, None)
        if code is None or stop <= start:
            return
        try:
            self._map.madvise(code, start, stop - start)
        except OSError:  # advice only: not every file system can punch holes
            return


class MappedFile(Mapping):
    """A :class:`Mapping` of disk: reserved at once, unlinked at once, gone with the object.

    The folder is `TMPDIR` if set, else /var/tmp, which unlike /tmp is seldom memory itself.

    Raises:
        PixartError: "disk" when there is no room, or the folder cannot be written to.
        MemoryError: when the address space is spent.
    """

    def _open(self, size: int) -> mmap.mmap:
        folder = _folder()
        try:
            with tempfile.TemporaryFile(dir=folder, prefix="pixart-") as file:
                _reserve(file, size)
                return mmap.mmap(file.fileno(), size)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise
            raise _disk(folder, size, error) from error

    def settle(self, start: int, stop: int) -> None:
        """Bytes `start` to `stop` need not stay in this process's memory; the file still holds them."""
        self._advise("MADV_DONTNEED", start, stop)

    def forget(self, start: int, stop: int) -> None:
        """Bytes `start` to `stop` will not be read again: their whole pages are given back to the disk."""
        self._advise("MADV_REMOVE", start, stop)


def _folder() -> Path:
    temporary = Path("/var/tmp")  # noqa: S108 - the file has no name there
    if chosen := os.environ.get("TMPDIR"):
        return Path(chosen)
    return temporary if os.access(temporary, os.W_OK) else Path(tempfile.gettempdir())


def _reserve(file: IO[bytes], size: int) -> None:
    """Take `size` bytes of disk now: a full disk met later, through the mapping, would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(_ZEROS)):
        file.write(_ZEROS[: size - start])
    file.flush()


def _disk(folder: Path, size: int, error: OSError) -> PixartError:
    what = (error.strerror or str(error)).lower()
    return PixartError(
        "disk",
        f"{size / (1 << 20):.0f} MiB of working space cannot be had in {folder}: {what}",
        "Free some space, point TMPDIR at a larger disk, or ask for fewer pixels.",
    )
