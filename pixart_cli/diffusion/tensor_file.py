"""Tensors → a safetensors file, where a full disk is an OSError as everywhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safetensors import SafetensorError
from safetensors.torch import save_file

if TYPE_CHECKING:
    from torch import Tensor

_ERRNO: Final = re.compile(r"os error (\d+)")


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` to `path`, with "format": "pt" and `metadata` in its header.

    Raises:
        OSError: what the disk says.
    """
    whole = {key: value.contiguous() for key, value in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:
        number = _ERRNO.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
