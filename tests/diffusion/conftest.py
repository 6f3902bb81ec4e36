"""One toy model for all tests of this floor, and the request that draws with it."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import bins
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.weights import Installed, locate
from tests.processes import PATIENCE, free_port
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


@pytest.fixture(scope="session")
def four_processes(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `four_processes.py` found, by rank; the last process ends in the middle, with code 9."""
    out = tmp_path_factory.mktemp("found")
    environ = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WORLD_SIZE": "4", "OUT": str(out)}
    environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "tests.diffusion.four_processes", str(toy_folder)], env=environ,
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout[-10:]) == (0, "[0, 0, 9]\n"), done.stderr[-4000:]
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(4)]
