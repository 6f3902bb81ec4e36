"""Steps played back on a GPU: the same as steps made one by one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pixart_cli.features.train.loop import Loss, Stage, StageSettings
from pixart_cli.features.train.team import Team

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
