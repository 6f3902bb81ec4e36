"""Checkpoints of a training run: whole folders of safetensors and JSON, from which it goes on to the bit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pixart_cli.core.publish import publish_folder
from pixart_cli.diffusion.header import damaged
from pixart_cli.diffusion.part_files import read_json
from pixart_cli.diffusion.tensor_file import save_tensors

MARKER: Final = "state.json"
SCHEMA: Final = "pixart.training/1"
_NAME: Final = re.compile(r"step-(\d{8})")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run after `step` steps. `optimizer` is its state_dict; `facts` JSON data that a continued run must
    agree with."""

    step: int
    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    facts: Mapping[str, Any]


def snapshots_in(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if _NAME.fullmatch(path.name) and (path / MARKER).is_file())


def save_snapshot(folder: Path, snapshot: Snapshot, *, keep: int) -> Path:
    """Write `snapshot` into `folder`, whole or not at all, then remove all but the last `keep`.

    Raises:
        PixartError: "disk".
    """
    path = folder / f"step-{snapshot.step:08d}"
    tensors, numbers = _flat(snapshot.optimizer["state"])

    def fill(place: Path) -> None:
        save_tensors(snapshot.weights, place / "weights.safetensors")
        save_tensors(snapshot.average, place / "average.safetensors")
        save_tensors(tensors, place / "optimizer.safetensors")
        state = {
            "schema": SCHEMA,
            "step": snapshot.step,
            "facts": snapshot.facts,
            "numbers": numbers,
            "groups": snapshot.optimizer["param_groups"],
        }
        (place / MARKER).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    publish_folder(path, fill, marker=MARKER, force=True)
    for old in snapshots_in(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_snapshot(path: Path) -> Snapshot:
    """The checkpoint in the folder `path`; nothing in it is ever run.

    Raises:
        PixartError: "weights-invalid" when it is not whole.
    """
    state = read_json(path / MARKER)
    try:
        if state["schema"] != SCHEMA:
            raise damaged(path, f"it is a checkpoint of another version ({str(state['schema'])[:40]})")
        weights, average, moments = (
            load_file(path / f"{name}.safetensors") for name in ("weights", "average", "optimizer")
        )
        optimizer = {"state": _nested(moments, state["numbers"]), "param_groups": _groups(state["groups"])}
        return Snapshot(
            step=int(state["step"]), weights=weights, average=average, optimizer=optimizer,
            facts=dict(state["facts"]),
        )  # fmt: skip
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"the checkpoint is not whole ({type(error).__name__}: {error})") from error


def copy_into(weights: Mapping[str, Tensor], saved: Mapping[str, Tensor], path: Path) -> None:
    """Let `weights` hold the numbers that were `saved` in `path`.

    Raises:
        PixartError: "weights-invalid" when they are another network's.
    """
    wrong = sorted(weights.keys() ^ saved.keys()) or [
        name for name, value in weights.items() if saved[name].shape != value.shape
    ]
    if wrong:
        raise damaged(path, f"it is a checkpoint of another network: {', '.join(wrong[:3])} do not fit")
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(saved[name])


def _flat(state: Mapping[int, Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors and as plain numbers, each by "parameter/name"."""
    entries = {f"{key}/{name}": value for key, row in state.items() for name, value in row.items()}
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    return tensors, {key: value for key, value in entries.items() if key not in tensors}


def _nested(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for entry, value in {**tensors, **numbers}.items():
        key, _, name = entry.partition("/")
        state.setdefault(int(key), {})[name] = value
    return state


def _groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has lists where torch had tuples."""
    return [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in groups
    ]
