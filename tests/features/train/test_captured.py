"""Steps played back on a GPU are the same as steps made one by one, and hold nothing it could not play."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pixart_cli.features.train.loop import Loss, Plan, Report, Stage, StageSettings
from pixart_cli.features.train.mini import train_mini
from pixart_cli.features.train.team import Team
from tests.features.train.conftest import TOY

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
SETTINGS = StageSettings(name="toy", steps=30, learning_rate=0.05, warmup_steps=3)


def _weights(folder: Path, team: Team) -> list[torch.Tensor]:
    torch.manual_seed(1)
    stage = Stage(nn.ModuleDict({"line": nn.Linear(3, 2)}).to("cuda"), SETTINGS, folder, team)

    def plan(step: int):
        stage.generator.manual_seed(step)

        def loss() -> Loss:
            x = torch.randn(4 + step % 2, 3, generator=stage.generator, device="cuda")
            return (stage.modules["line"](x) - 1.0).square().mean(), {}

        return step % 2, loss

    stage.run(plan, print)
    return [*stage.modules.parameters(), *stage.average.values()]


@needs_gpu
def test_steps_played_back_are_the_steps_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = _weights(tmp_path / "played", Team())
    monkeypatch.setattr("pixart_cli.features.train.loop.Captured.make", lambda _self, _choice, step: step())
    made = _weights(tmp_path / "made", Team())
    for one, other in zip(played, made, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


_aten = torch.ops.aten
_WAIT = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.is_nonzero.default,
    _aten.lift_fresh.default,  # numbers that Python brings along
    _aten.masked_select.default,
    _aten.nonzero.default,
}


class Recording(TorchDispatchMode):
    """Within, what a GPU cannot record is an error: looking at a number, and sizes that depend on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in (_aten.index.Tensor, _aten.index_put_.default) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if func in _WAIT or by_mask:
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("toy_sizes")
def test_no_stage_of_the_recipe_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a processor: what it cannot see is a copy from main memory."""
    recorded: list[str] = []

    def record(stage: Stage, plan: Plan, _report: Report) -> None:
        stage._step(plan(0)[1], eager=False)
        loss_of = plan(1)[1]  # which finds the optimizers' states there
        with Recording():
            stage._step(loss_of, eager=False)
        recorded.append(stage.settings.name)

    monkeypatch.setattr(Stage, "run", record)
    monkeypatch.setattr(
        "transformers.utils.import_utils.is_cuda_stream_capturing", lambda: True, raising=False
    )
    lessons = [replace(each, settings=replace(each.settings, muon=True)) for each in TOY.lessons]
    recipe = replace(TOY, lessons=lessons)
    train_mini(tmp_path / "out", tmp_path / "run", recipe, print)
    assert recorded == ["autoencoder", "language", "small", "full", "decoder"]
