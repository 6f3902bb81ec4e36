"""The objective, against the formulas written out plainly."""

import pytest
import torch

from pixart_cli.diffusion.objective import (
    USUAL_ERRORS,
    add_noise,
    alphas_cumprod,
    middle_timesteps,
    sample_timesteps,
    velocity,
    velocity_weight,
)


def test_the_schedule_is_linear_in_beta() -> None:
    kept, expected = 1.0, []
    for t in range(1000):
        kept *= 1.0 - (1e-4 + (0.02 - 1e-4) * t / 999)
        expected.append(kept)
    assert alphas_cumprod().tolist() == pytest.approx(expected, rel=1e-5)


def test_it_is_the_schedule_of_the_sampler() -> None:
    from pixart_cli.features.train.export import build_scheduler

    assert torch.allclose(build_scheduler().alphas_cumprod, alphas_cumprod(), rtol=1e-4)


def test_noise_and_signal_share_the_variance() -> None:
    x, noise = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), -1.0)
    mixed = add_noise(x, noise, torch.tensor([1.0, 0.36]))
    assert torch.allclose(mixed[0], torch.ones(1, 2, 2))
    assert torch.allclose(mixed[1], torch.full((1, 2, 2), 0.6 - 0.8))


def test_picture_and_noise_come_back_from_the_velocity() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    alpha_bar = torch.tensor([0.99, 0.5, 4e-5])
    mixed, v = add_noise(x, noise, alpha_bar), velocity(x, noise, alpha_bar)
    a, s = alpha_bar.sqrt().view(-1, 1, 1, 1), (1.0 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(a * mixed - s * v, x, atol=1e-5)
    assert torch.allclose(s * mixed + a * v, noise, atol=1e-5)


def test_every_noise_level_counts_the_same_at_its_usual_error() -> None:
    timesteps, usual = (torch.tensor(column) for column in zip(*USUAL_ERRORS, strict=True))
    alpha_bar = alphas_cumprod()[timesteps]
    error_of_v = usual / (1.0 - alpha_bar)
    weighed = velocity_weight(alpha_bar, timesteps) * error_of_v
    assert weighed.tolist() == pytest.approx([1.0] * len(timesteps), rel=1e-4)
    between = velocity_weight(alphas_cumprod()[[425]], torch.tensor([425]))
    assert between.item() == pytest.approx((1 - alphas_cumprod()[425].item()) / (0.058 + 0.052 / 6), rel=1e-4)


def test_the_sampler_walks_back_along_the_true_velocity() -> None:
    """The scheduler that is saved must read the network's output as this objective trains it."""
    from pixart_cli.features.train.export import build_scheduler

    scheduler, alpha_bar = build_scheduler(), alphas_cumprod()
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(2))
    latents = add_noise(x, noise, alpha_bar[scheduler.timesteps[:1]])
    for timestep in scheduler.timesteps:
        latents = scheduler.step(velocity(x, noise, alpha_bar[timestep[None]]), timestep, latents).prev_sample
    assert torch.allclose(latents, x, atol=0.02)


def test_timesteps_are_even_and_end_where_asked() -> None:
    steps = sample_timesteps(20_000, torch.Generator().manual_seed(0))
    assert (int(steps.min()), int(steps.max())) == (0, 999)
    assert (steps >= 350).float().mean().item() == pytest.approx(0.65, abs=0.01)
    few = sample_timesteps(3000, torch.Generator().manual_seed(0), end=300)
    assert int(few.max()) == 299
    assert few.float().mean().item() == pytest.approx(150, abs=3)


def test_every_batch_holds_all_noise_levels() -> None:
    for seed in range(20):
        steps = sample_timesteps(16, torch.Generator().manual_seed(seed)).sort().values
        assert steps[0] < 150
        assert steps[-1] > 900
        assert steps.diff().max() < 150


def test_most_timesteps_are_where_outlines_are_made() -> None:
    generator = torch.Generator().manual_seed(0)
    steps = torch.cat([middle_timesteps(16, generator) for _ in range(2000)])
    assert (int(steps.min()), int(steps.max())) == (0, 999)
    uniform, logit_normal = 1 / 5, torch.distributions.Normal(-0.3, 1.0)
    for below in (60, 270, 590, 900):
        share = logit_normal.cdf(torch.tensor(below / 1000).logit()).item()
        expected = uniform * below / 1000 + (1 - uniform) * share
        assert (steps < below).float().mean().item() == pytest.approx(expected, abs=0.01)


def test_they_are_a_function_of_the_generator() -> None:
    one, same, other = (middle_timesteps(16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
