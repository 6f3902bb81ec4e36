"""Every rule, on the model's own noise schedule, must find a picture that a perfect network knows."""

import logging

import pytest
import torch

from pixart_cli.core.fields import SCHEDULERS
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.part_files import read_json
from tests.toy_model import build_toy_model

CONFIG = {
    "_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "linear", "beta_start": 1e-4,
    "beta_end": 0.02, "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "variance_type": "learned_range", "steps_offset": 0,
}  # fmt: skip


def alpha_bar(timestep):
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alphas = torch.cumprod(1 - betas, 0)
    low = int(timestep)
    high = min(low + 1, 999)
    share = float(timestep) - low
    return alphas[low] * (1 - share) + alphas[high] * share


def run(name, steps, target, **options):
    """Denoise with the exact noise prediction for a world that holds `target` alone."""
    generator = torch.Generator().manual_seed(0)
    scheduler = schedulers.build(name, CONFIG, steps, **options)
    latents = torch.randn(target.shape, generator=generator) * scheduler.init_noise_sigma
    extra = {"generator": generator} if schedulers.RULES[name].stochastic else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        a = alpha_bar(timestep)
        noise = ((scaled - a.sqrt() * target) / (1 - a).sqrt()).float()
        latents = scheduler.step(noise, timestep, latents, **extra, return_dict=False)[0]
    return latents


def test_every_name_of_the_table_has_a_rule():
    # Stable Cascade's pipelines have one of their own.
    assert (*schedulers.RULES, "wuerstchen") == SCHEDULERS


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("name", list(schedulers.RULES))
def test_every_rule_finds_what_the_network_knows(name, steps):
    target = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    found = run(name, steps, target)
    assert (found - target).abs().max() < 0.05


def test_the_models_own_schedule_is_used():
    scheduler = schedulers.build("euler", {**CONFIG, "beta_end": 0.012}, 5)
    assert scheduler.config.beta_end == 0.012
    assert scheduler.config.prediction_type == "epsilon"


def test_learned_variance_is_never_looked_for():
    assert schedulers.build("dpm++", CONFIG, 5).config.variance_type is None


@pytest.mark.parametrize("name", ["euler", "euler-a", "ddim", "lcm"])
def test_one_step_starts_at_noise(name):
    assert float(schedulers.build(name, CONFIG, 1).timesteps[0]) >= 950


def test_few_step_models_name_their_timesteps():
    assert schedulers.build("lcm", CONFIG, 1, timesteps=(400,)).timesteps.tolist() == [400]
    assert schedulers.build("lcm", CONFIG, 2, timesteps=(400,)).timesteps.tolist() != [400]
    assert len(schedulers.build("euler", CONFIG, 1, timesteps=(400,)).timesteps) == 1


def test_a_few_step_models_own_start_is_not_advised_against():
    said = []

    class Ear(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    ear = Ear()
    logging.getLogger("diffusers").addHandler(ear)
    try:
        schedulers.build("lcm", CONFIG, 1, timesteps=(400,))
    finally:
        logging.getLogger("diffusers").removeHandler(ear)
    assert said == []


def test_reads_what_diffusers_saves(tmp_path):
    folder = build_toy_model(tmp_path / "toy")
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    assert all(len(schedulers.build(name, config, 4).timesteps) == 4 for name in schedulers.RULES)


@pytest.mark.parametrize("name", sorted(schedulers.RULES))
@pytest.mark.parametrize("strength", [0.001, 0.1, 0.35, 0.6, 1.0])
@pytest.mark.parametrize("steps", [1, 4, 20, 1000])
def test_a_rest_is_the_end_of_a_whole_schedule(name, strength, steps):
    rest = schedulers.build_rest(name, CONFIG, steps, strength)
    timesteps = [float(timestep) for timestep in rest.timesteps]
    assert timesteps == sorted(timesteps, reverse=True)
    assert rest.stochastic == schedulers.RULES[name].stochastic
    if name == "lcm":
        assert 1 <= len(timesteps) <= steps
        assert timesteps[0] < 1000 * strength
    else:
        whole = schedulers.build(name, CONFIG, steps).timesteps
        assert len(timesteps) == max(1, round(steps * strength))
        assert timesteps == [float(timestep) for timestep in whole[-len(timesteps) :]]


@pytest.mark.parametrize("name", ["dpm++", "euler", "ddim", "unipc", "dpm++-sde", "euler-a", "lcm"])
def test_a_rest_finds_its_way_back_with_the_true_noise(name):
    rest = schedulers.build_rest(name, CONFIG, 10, 0.5)
    source = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    latents = rest.scheduler.add_noise(source, noise, rest.timesteps[:1])
    for timestep in rest.timesteps:
        inputs = rest.scheduler.scale_model_input(latents, timestep)
        at = alpha_bar(timestep)
        told = ((inputs - at.sqrt() * source) / (1 - at).sqrt()).float()
        latents = rest.scheduler.step(told, timestep, latents, return_dict=False)[0]
    assert torch.allclose(latents, source, atol=0.05)


@pytest.mark.parametrize("name", sorted(schedulers.RULES))
@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0, 2.0])
def test_a_tail_begins_at_its_strength_and_ends_at_the_end(name, strength):
    tail = schedulers.build_tail(name, CONFIG, 6, strength)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    at = kept[round(float(tail.timesteps[0]))]
    assert len(tail.timesteps) == 6
    assert ((1 - at) / at).sqrt().item() == pytest.approx(strength, rel=0.12)
    assert list(tail.timesteps) == sorted(tail.timesteps, reverse=True)


@pytest.mark.parametrize("name", ["dpm++", "euler", "ddim", "unipc", "dpm++-sde", "euler-a"])
def test_a_tail_finds_its_way_back_with_the_true_noise(name):
    """Told the noise that was added, every rule must arrive at what the noise was added to."""
    tail = schedulers.build_tail(name, CONFIG, 5, 0.8)
    source = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).float()
    latents = tail.scheduler.add_noise(source, noise, tail.timesteps[:1])
    for timestep in tail.timesteps:
        inputs = tail.scheduler.scale_model_input(latents, timestep)
        at = kept[round(float(timestep))]
        told = (inputs - at.sqrt() * source) / (1 - at).sqrt()
        latents = tail.scheduler.step(told, timestep, latents, return_dict=False)[0]
    assert torch.allclose(latents, source, atol=0.05)
