"""A toy transformer, a batch for it, and accelerate on the processor, whose global state is put back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pixart_cli.diffusion.training.adapt import Adaptation, adapted
from pixart_cli.diffusion.training.batches import Team
from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.diffusion.training.optimizer import Pace
from pixart_cli.diffusion.training.samples import Batch
from pixart_cli.diffusion.training.trainer import Run
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from tests.toy_model import toy_transformer


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    """One process, float32."""
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def weak() -> PixArtSigmaTransformer2DModel:
    """The toy transformer with weights that are not near zero; tests adapt it, and change it never."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PixArtSigmaTransformer2DModel.from_config(toy_transformer().config).eval()


@pytest.fixture
def network(weak: PixArtSigmaTransformer2DModel) -> PixArtSigmaTransformer2DModel:
    """A copy that learns."""
    return adapted(weak, Adaptation())


def batch_of(count: int, *, seed: int = 0, side: int = 8) -> Batch:
    """`count` samples of unequal captions; the first is at timestep 0, where the bound is another."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.arange(count) % 3 + 1
    return Batch(
        latents=torch.randn(count, 4, side, side, generator=generator),
        noise=torch.randn(count, 4, side, side, generator=generator),
        timesteps=torch.randint(1, 1000, (count,), generator=generator)
        * (torch.arange(count) > 0),
        embeds=torch.randn(count, 3, 16, generator=generator),
        mask=(torch.arange(3)[None] < lengths[:, None]).long(),
        weights=torch.ones(count),
    )  # fmt: skip


def parts_of(step: int, part: int) -> Batch:
    """A batch that step and part decide."""
    return batch_of(2, seed=step * 10 + part)


@pytest.fixture
def run_in(tmp_path: Path) -> Callable[..., Run]:
    """A short run in the test's folder; `pace` and the run's own values can be changed."""

    def make(*, pace: dict[str, Any] | None = None, **changes: Any) -> Run:
        values: dict[str, Any] = {
            "pace": Pace(**{"steps": 4, "learning_rate": 1e-3, **(pace or {})}),
            "team": Team(batch_size=2),
            "objective": Objective(prediction_type="epsilon", learn_sigma=True),
            "folder": tmp_path / "checkpoints",
            "facts": {"batch": 2},
        }
        return Run(**(values | changes))

    return make
