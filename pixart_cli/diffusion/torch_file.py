"""A file of `torch.save` → tensors, and nothing else: no code in it is ever run.

`torch.load(weights_only=True)` knows a short list of harmless things; every other name in a pickle is refused
before it is looked up. Tensors stay mapped from the disk where the file allows.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # nosec -- the name of an error
from typing import Any, Final

import torch
from torch import Tensor

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.checkpoint import refuse, unfit
from pixart_cli.diffusion.finite import is_finite

_KNOWN: Final = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})
_WRAPPERS: Final = ("module.", "_orig_mod.", "_forward_module.", "base_model.", "model.")
_MAX_TENSORS: Final = 100_000
_TRAINED: Final = "state_dict"
_AVERAGED: Final = "state_dict_ema"
_GLOBAL: Final = re.compile(r"GLOBAL (\S{1,80})")


def read_torch_file(path: Path) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote to `path`.

    Raises:
        PixartError: "weights-invalid" when there is no such file, it holds code, is damaged or is something
            else; "disk" when it cannot be read.
    """
    if not os.path.isfile(path):
        raise unfit(path, "it is a folder" if os.path.isdir(path) else "there is no such file")
    try:
        zipped = _check_zip(path)
        with _no_other_classes(), warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise PixartError("disk", f"cannot read {path}: {error.strerror or error}") from error
    except (PixartError, MemoryError):
        raise
    except UnpicklingError as error:
        raise _refused(path, str(error)) from None
    # Whatever a damaged file makes torch raise, the file is what is wrong.
    except Exception as error:
        raise unfit(path, f"torch cannot read it ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise unfit(path, f"it holds a {type(found).__name__}, not a table of tensors")
    return found


def _check_zip(path: Path) -> bool:
    """Whether `path` is of today's format, a zip archive: then nothing in it may be compressed or torn.

    torch maps an archive's bytes as they are, and compares no checksums.
    """
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise unfit(path, "its records are compressed", "Save it again with torch.save.")
            torn = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise unfit(path, f"its archive is damaged ({error})") from error
    if torn is not None:
        raise unfit(path, f"it is damaged: {torn[-80:]} does not have its checksum")
    return True


@contextmanager
def _no_other_classes() -> Iterator[None]:
    """Without the classes that libraries let through when they are imported, torch's own among them."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)


def _refused(path: Path, said: str) -> PixartError:
    name = _GLOBAL.search(said)
    what = f"it asks for {name[1]}" if name else "its pickle does more than hold tensors"
    hint = "Take a file of tensors alone: who made this one can save its state_dict by itself."
    return unfit(path, f"{what}; nothing of it was run", hint)


def weights_of(path: Path, content: Mapping[str, Any], *, averaged: bool) -> tuple[dict[str, Tensor], bool]:
    """The network's tensors by the authors' names, and whether the file holds averaged (EMA) ones too.

    `content` is a training checkpoint (`state_dict`, `state_dict_ema`, optimizer …) or the tensors alone.

    Raises:
        PixartError: "request-invalid" when `averaged` ones are asked for and not there; "weights-invalid"
            when there are no tensors, or one is not plain, not finite, or larger than its file.
    """
    has_averaged = isinstance(content.get(_AVERAGED), Mapping)
    if averaged and not has_averaged:
        raise PixartError("request-invalid", f"{path} holds no {_AVERAGED}", "Leave out --ema.")
    state = content.get(_AVERAGED if averaged else _TRAINED, content)
    if not isinstance(state, Mapping) or not state or len(state) > _MAX_TENSORS:
        raise unfit(path, "it holds no table of tensors")
    if not all(isinstance(key, str) for key in state):
        raise unfit(path, "its tensors have no names")
    others = {key for key, value in state.items() if not isinstance(value, Tensor)}
    refuse(path, others, "are no tensors")
    found = _unwrapped(state)
    _check_tensors(path, found)
    return found, has_averaged


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers (distributed training, torch.compile) put before every name."""
    found = dict(state)
    while wrapper := next((each for each in _WRAPPERS if all(key.startswith(each) for key in found)), None):
        found = {key.removeprefix(wrapper): value for key, value in found.items()}
    return {key: value.detach() for key, value in found.items()}


def _check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    refuse(path, {key for key, value in state.items() if not _is_plain(value)}, "are not plain numbers")
    # A few bytes can be announced as any number of numbers: strides of 0 repeat them.
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise unfit(path, "its tensors announce more than the file holds")
    for key, value in state.items():
        check_finite(path, key, value)


def _is_plain(value: Tensor) -> bool:
    known = value.dtype in _KNOWN and value.layout is torch.strided and value.device.type == "cpu"
    return known and value.numel() > 0


def check_finite(path: Path, key: str, value: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        PixartError: "weights-invalid" naming the tensor.
    """
    if not is_finite(value):
        raise unfit(path, f"its tensor {key[:80]} holds NaN or infinity")
