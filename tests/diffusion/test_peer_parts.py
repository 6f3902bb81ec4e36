"""Steps in float32 and pipelines that compute where they are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.peer_parts import computing_on, in_float32, told

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
