"""Where a LoRA's file is: a place typed, a name of the shared hub cache, or a hash. Never on the network;
what fetches one is `lora_hub`.

Three ways to say it: a safetensors file, a folder as peft saves it (weights and ``adapter_config.json``), or
``OWNER/REPO[/FILE.safetensors]`` on the hub, of which the cache must hold a copy.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import Recorded, split_wish
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.hub_cache import hub_cache, snapshots

PEFT: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
_USUAL: Final = (PEFT, "pytorch_lora_weights.safetensors")
_SUFFIX: Final = ".safetensors"
_PICKLES: Final = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_HUB: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./ -]+\.safetensors))?")


@dataclass(frozen=True)
class LoraFile:
    """One LoRA on this machine. `name` is how it was typed, for messages."""

    name: str
    path: Path
    recorded: Recorded

    @property
    def config(self) -> Path | None:
        """The file that says, for peft's layout, how the weights are meant."""
        return config_of(self.path)


def find_lora(wish: str) -> LoraFile:
    """The LoRA that ``PLACE[:SCALE]`` names, its header sound.

    Raises:
        PixartError: "lora-missing" when there is none, "weights-invalid" for a pickle, a folder of several or
            of none, or a damaged file; "usage" for a scale out of range.
    """
    name, scale = split_wish(wish)
    path = _place(name)
    read_header(path)
    return LoraFile(name, path, Recorded(hash_of(path), scale))


def cached_lora(sha256: str) -> Path | None:
    """The file of that hash in the shared hub cache, which names its large files so; None if it has none."""
    return next(iter(hub_cache().glob(f"models--*/blobs/{sha256}")), None)


def config_of(path: Path) -> Path | None:
    """peft's configuration beside weights that it saved; None where there is none."""
    config = path.with_name(CONFIG)
    return config if path.name == PEFT and config.is_file() else None


def hash_of(path: Path) -> str:
    """Hex of the sha256 over the file, and after it over peft's configuration where one belongs to it.

    Raises:
        PixartError: "disk" when it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for each in (path, config_of(path)):
            if each is not None:
                with each.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
    except OSError as error:
        raise PixartError("disk", f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def _place(name: str) -> Path:
    path = Path(name)
    if os.path.isdir(path):
        return _in_folder(path, name)
    if path.suffix.lower() in _PICKLES:
        raise _pickle(name)
    if os.path.lexists(path):
        if not os.path.isfile(path):
            raise _refused(name, "it is no file", "Name a safetensors file.")
        return path
    found = hub_name(name)
    if found is None:
        what = f"no LoRA {name!r}: there is no such file"
        raise PixartError("lora-missing", what, "Check the name, or give OWNER/REPO of the hub.")
    cached = _cached(name, *found)
    if cached is None:
        what = f"no LoRA {name!r}: there is no such file, and the shared cache holds nothing of that name"
        raise PixartError("lora-missing", what, "Check the name; from the hub --yes fetches it.")
    return cached


def hub_name(name: str) -> tuple[str, str | None] | None:
    """(repository, file or None) of what can be a name of the hub, None of what cannot."""
    match = _HUB.fullmatch(name)
    if match is None or name.startswith(".") or ".." in Path(name).parts:
        return None
    if match["repo"].endswith(_SUFFIX):  # a file that is not there, and no repository
        return None
    return match["repo"], match["file"]


def is_here(name: str) -> bool:
    """Whether something of that name is on this machine: a file, a folder, or a part of the cache."""
    found = hub_name(name)
    return os.path.lexists(name) or (found is not None and _cached(name, *found) is not None)


def _cached(name: str, repo: str, file: str | None) -> Path | None:
    for snapshot in snapshots(repo):
        if file is not None and os.path.isfile(snapshot / file):
            return snapshot / file
        if file is None and any(snapshot.glob(f"*{_SUFFIX}")):
            return _in_folder(snapshot, name)
    return None


def _in_folder(folder: Path, name: str) -> Path:
    """The one LoRA in `folder`."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        what = f"LoRA {name}: the folder cannot be read: {error.strerror or error}"
        raise PixartError("disk", what, "Check its permissions.") from error
    return folder / choose(names, name)


def choose(names: Sequence[str], name: str) -> str:
    """Of the files `names` of a folder or repository the one LoRA: by its usual name, or alone.

    Raises:
        PixartError: "weights-invalid" about `name`, where there are several or none.
    """
    found = [each for each in names if each.endswith(_SUFFIX)]
    for usual in _USUAL:
        if usual in found:
            return usual
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:4]) + (" …" if len(found) > 4 else "")
        raise _refused(name, f"it holds several files: {shown}", "Name one of them.")
    if any(each.endswith(_PICKLES) for each in names):
        raise _pickle(name)
    raise _refused(name, "it holds no safetensors file", "Name the file, or another folder.")


def _pickle(name: str) -> PixartError:
    hint = "Only safetensors are read. Ask its maker for that, or convert it where nothing can be harmed."
    return _refused(name, "it is a pickle, which can run any program when it is read", hint)


def _refused(name: str, why: str, hint: str) -> PixartError:
    return PixartError("weights-invalid", f"LoRA {name}: {why}", hint)
