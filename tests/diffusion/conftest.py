"""One toy model for all tests of this floor, and the request that draws with it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import bins
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.weights import Installed, locate
from tests.toy_model import build_toy_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model at toy size; tests that change it copy it first."""
    return build_toy_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="session")
def toy(toy_folder: Path) -> Installed:
    """The toy as `locate` finds it."""
    return locate(str(toy_folder))


@pytest.fixture(scope="session")
def cpu_plan() -> MemoryPlan:
    """Everything on the processor in float32."""
    return MemoryPlan(
        device="cpu", dtype="float32", offload="full", estimate_bytes=0, seconds_estimate=None, reasons=()
    )


@pytest.fixture(scope="session")
def small_bin() -> tuple[int, int]:
    """(width, height) of the bin of native size 256 with the fewest pixels."""
    height, width = min(bins(256), key=lambda size: size[0] * size[1])
    return width, height


@pytest.fixture
def request_for(toy: Installed, small_bin: tuple[int, int]) -> Callable[..., GenerationRequest]:
    """A three-step request for the toy, with any field changed."""
    base = GenerationRequest(
        prompt="a red sun", model=toy.name, width=small_bin[0], height=small_bin[1],
        num_inference_steps=3, guidance_scale=4.5, scheduler="dpm++", seed=7,
    )  # fmt: skip
    return lambda **changes: dataclasses.replace(base, **changes)


@pytest.fixture
def picture() -> torch.Tensor:
    """A small feature map, (1, 3, 10, 4)."""
    return torch.randn(1, 3, 10, 4, generator=torch.Generator().manual_seed(0))
