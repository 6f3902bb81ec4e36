"""Checkpoints: whole, few, and nobody else's."""

import errno
import json

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.training import snapshot as module
from pixart_cli.diffusion.training.snapshot import (
    Snapshot,
    copy_into,
    load_snapshot,
    save_snapshot,
    snapshots_in,
)


def snapshot(step: int) -> Snapshot:
    moments = {"exp_avg": torch.full((2,), 0.5), "step": torch.tensor(float(step)), "RMS": 0.25}
    return Snapshot(
        step=step, weights={"w": torch.tensor([1.0, step])}, average={}, facts={"batch": 4, "betas": [0.9]},
        optimizer={"state": {0: moments}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}]},
    )  # fmt: skip


def test_what_is_saved_comes_back(tmp_path) -> None:
    path = save_snapshot(tmp_path, snapshot(7), keep=1)
    found, said = load_snapshot(path), snapshot(7)
    assert (found.step, found.facts, dict(found.average)) == (7, said.facts, {})
    assert torch.equal(found.weights["w"], said.weights["w"])
    assert found.optimizer["param_groups"] == said.optimizer["param_groups"]
    row = found.optimizer["state"][0]
    assert row["RMS"] == 0.25
    assert torch.equal(row["exp_avg"], torch.full((2,), 0.5))
    assert row["step"].item() == 7


def test_only_the_last_are_kept(tmp_path) -> None:
    for step in (2, 10, 9, 100):
        save_snapshot(tmp_path, snapshot(step), keep=2)
    assert [path.name for path in snapshots_in(tmp_path)] == ["step-00000010", "step-00000100"]


def test_a_disk_that_fills_up_leaves_the_last_one(tmp_path, monkeypatch) -> None:
    save_snapshot(tmp_path, snapshot(1), keep=1)

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_tensors", full)
    with pytest.raises(PixartError, match="no space left") as caught:
        save_snapshot(tmp_path, snapshot(2), keep=1)
    assert caught.value.exit_code == 9
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_other_folders_are_no_checkpoints(tmp_path) -> None:
    (tmp_path / "step-00000001").mkdir()
    (tmp_path / "notes").mkdir()
    assert snapshots_in(tmp_path) == []
    assert snapshots_in(tmp_path / "missing") == []


@pytest.mark.parametrize("damage", ["weights", "optimizer", "state", "version"])
def test_a_damaged_one_is_refused(tmp_path, damage: str) -> None:
    path = save_snapshot(tmp_path, snapshot(1), keep=1)
    if damage == "version":
        values = json.loads((path / "state.json").read_text())
        (path / "state.json").write_text(json.dumps(values | {"schema": "pixart.training/9"}))
    elif damage == "state":
        (path / "state.json").write_text("{")
    else:
        file = path / f"{damage}.safetensors"
        file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(PixartError) as caught:
        load_snapshot(path)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("saved", [{}, {"w": torch.zeros(3)}, {"w": torch.zeros(2), "v": torch.zeros(1)}])
def test_weights_of_another_network_are_refused(tmp_path, saved) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(PixartError, match="another network"):
        copy_into({"w": weight}, saved, tmp_path)
    assert weight.tolist() == [1, 1]
