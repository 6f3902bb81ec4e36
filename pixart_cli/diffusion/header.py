"""The header of a safetensors file: what a file holds, read without mapping or running anything.

Format: https://github.com/huggingface/safetensors (eight bytes of length, JSON, then the buffer).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError

MAX_HEADER_BYTES: Final = 100_000_000
MAX_TENSORS: Final = 100_000
_ITEM_BYTES: Final = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as its file announces it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes the tensor takes."""
        return self.parameters * _ITEM_BYTES[self.dtype]


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of `path` by name.

    Raises:
        PixartError: "weights-invalid" when the header is no header, a tensor reaches outside the file,
            bytes overlap or are left over; "disk" when the file cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise damaged(path, "it is cut off, or no safetensors file")
            text = file.read(length)
    except OSError as error:
        raise PixartError("disk", f"cannot read {path}: {error.strerror or error}") from error
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged(path, "its header is not JSON") from None
    return _check_table(path, table, size - 8 - length)


def _check_table(path: Path, table: Any, buffer_bytes: int) -> dict[str, TensorEntry]:
    if not isinstance(table, dict) or len(table) > MAX_TENSORS:
        raise damaged(path, "its header is not a table of tensors")
    table.pop("__metadata__", None)
    entries, spans = {}, []
    for name, value in table.items():
        entries[name], span = _read_entry(path, name, value)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise damaged(path, "its tensors overlap or leave gaps")
        end = stop
    if end != buffer_bytes:
        raise damaged(path, f"it holds {buffer_bytes} bytes of tensors where its header announces {end}")
    return entries


def _read_entry(path: Path, name: str, value: Any) -> tuple[TensorEntry, tuple[int, int]]:
    try:
        item = _ITEM_BYTES[value["dtype"]]
        shape = tuple(value["shape"])
        start, stop = value["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
        sound = whole and stop - start == math.prod(shape) * item
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise damaged(path, f"the entry of tensor {name[:80]!r} is malformed")
    return TensorEntry(value["dtype"], shape), (start, stop)


def damaged(path: Path, why: str) -> PixartError:
    """The "weights-invalid" error for `path`."""
    return PixartError(
        "weights-invalid", f"{path}: {why}", "Fetch the weights again, or name another model folder."
    )
