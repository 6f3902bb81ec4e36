"""The files of one component: which there are, which are missing, and its JSON, read without trusting it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.components import is_scheduler, is_tokenizer
from pixart_cli.diffusion.header import damaged

STEMS: Final = ("model", "diffusion_pytorch_model")
_MAX_JSON_BYTES: Final = 16 << 20


def missing_files(component: str, folder: Path) -> list[str]:
    """Names of the files that `component` needs and `folder` lacks."""
    if is_tokenizer(component):
        wanted = ("tokenizer.json", "spiece.model", "vocab.json")
        there = [name for name in wanted if os.path.isfile(folder / name)]
        if there == ["vocab.json"] and not os.path.isfile(folder / "merges.txt"):
            return [f"{component}/merges.txt"]
        return [] if there else [f"{component}/{wanted[0]}"]
    if is_scheduler(component):
        names = ["scheduler_config.json"]
    else:
        names = ["config.json", *(path.name for path in weight_files(folder))]
    return [f"{component}/{name}" for name in names if not os.path.isfile(folder / name)]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one component, from the shard index where there is one.

    Raises:
        PixartError: "weights-invalid" when the index is no index, or names a file elsewhere.
    """
    for stem in STEMS:
        index = folder / f"{stem}.safetensors.index.json"
        if os.path.isfile(index):
            return [folder / name for name in _indexed(index)]
    stems = [stem for stem in STEMS if os.path.isfile(folder / f"{stem}.safetensors")] or [STEMS[1]]
    return [folder / f"{stems[0]}.safetensors"]


def _indexed(index: Path) -> list[str]:
    table = read_json(index).get("weight_map")
    names = sorted(set(table.values())) if isinstance(table, dict) and _all_text(table.values()) else []
    if not names or any(Path(n).name != n or not n.endswith(".safetensors") for n in names):
        raise damaged(index, "it is not an index of safetensors files")
    return names


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        PixartError: "weights-invalid" when it is too long, unreadable or no object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise damaged(path, "it is too long for a configuration")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise damaged(path, "it is not a JSON object")
    return value
