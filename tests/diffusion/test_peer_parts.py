"""Steps in float32 and pipelines that compute where they are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.peer_parts import Parts, computing_on, in_float32, told
from pixart_cli.diffusion.weights import Installed

CONFIG = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


@pytest.mark.parametrize("whole", [True, False])
def test_a_step_in_half_precision_draws_the_noise_of_one_in_float32(whole: bool) -> None:
    def step(dtype: torch.dtype) -> torch.Tensor:
        scheduler = in_float32(schedulers.build("euler-a", CONFIG, 4))
        values = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4).to(dtype)
        generator = torch.Generator().manual_seed(5)
        scheduler.scale_model_input(values, scheduler.timesteps[0])
        found = scheduler.step(values, scheduler.timesteps[0], values, generator=generator, return_dict=whole)
        found = found.prev_sample if whole else found[0]
        assert found.dtype is dtype
        return found.float()

    # bfloat16 keeps 8 bits; the noise of another draw would be off by as much as there is.
    half, single = step(torch.bfloat16), step(torch.float32)
    assert (half - single).std() < 0.01 * single.std()


def test_the_steps_of_several_stages_are_counted_through() -> None:
    heard: list[tuple[Any, ...]] = []
    tell = told(lambda *event: heard.append(event), 2, 12)
    assert tell(None, 0, None, {}) == {}
    assert heard == [("denoise", 3, 12)]


def test_a_pipeline_computes_where_it_is_told() -> None:
    class Pipeline:
        _execution_device = "what its first network is on"

        def set_progress_bar_config(self, **options: Any) -> None:
            self.options = options

    there = computing_on("meta", Pipeline())
    assert there._execution_device == torch.device("meta")
    assert there.options == {"disable": True}
    assert isinstance(there, Pipeline)


@pytest.mark.parametrize(
    ("model", "name", "change"),
    [
        ("sdxl", "scheduler", {"num_train_timesteps": 10**12}),
        ("sdxl", "scheduler", {"beta_schedule": "evil"}),
        ("cascade", "scheduler", {"scaler": -1}),
        ("cascade", "prior_scheduler", {"s": float("nan")}),
    ],
)
def test_schedules_of_no_sense_are_refused(
    toy_peers: dict[str, Path],
    tmp_path: Path,
    cpu_plan: MemoryPlan,
    model: str,
    name: str,
    change: dict[str, Any],
) -> None:
    folder = shutil.copytree(toy_peers[model], tmp_path / "mine")
    spec = get_model(model)
    installed = Installed(model, spec, {part: folder / part for part in spec.components})
    assert Parts(installed, cpu_plan).schedule(name)
    path = folder / name / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PixartError) as caught:
        Parts(installed, cpu_plan).schedule(name)
    assert (caught.value.code, next(iter(change)) in caught.value.message) == ("weights-invalid", True)
