"""The loss against a plain reference: the papers' formulas number by number, in Python's own floats."""

import math

import pytest
import torch

from pixart_cli.diffusion.training.loss import SCHEDULE, Objective
from tests.diffusion.training.reference import alphas_bar, betas, normal_cdf, reference_loss


def arrays(*, channels: int, timesteps: list[int]) -> tuple[torch.Tensor, ...]:
    """(output, latents, noise, timesteps) of small pictures."""
    generator = torch.Generator().manual_seed(1)
    count = len(timesteps)
    latents, noise = (torch.randn(count, 2, 2, 3, generator=generator) for _ in range(2))
    output = torch.cat([noise, noise], dim=1)[:, :channels].clone()
    output += 0.3 * torch.randn(count, channels, 2, 3, generator=generator)
    return output, latents, noise, torch.tensor(timesteps)


def test_the_betas_are_linear() -> None:
    assert betas()[0] == 1e-4
    assert betas()[999] == pytest.approx(0.02)
    assert SCHEDULE.alphas_cumprod.tolist() == pytest.approx(alphas_bar(), rel=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("learn_sigma", [False, True])
@pytest.mark.parametrize("min_snr", [0.0, 5.0])
def test_the_loss_is_that_of_the_papers(prediction_type: str, learn_sigma: bool, min_snr: float) -> None:
    output, latents, noise, timesteps = arrays(channels=4 if learn_sigma else 2, timesteps=[0, 1, 300, 999])
    objective = Objective(prediction_type=prediction_type, learn_sigma=learn_sigma, min_snr=min_snr)
    found = objective.losses(output, latents, noise, timesteps)
    expected = [
        reference_loss(
            out.flatten().tolist(), x.flatten().tolist(), e.flatten().tolist(), int(t),
            prediction_type=prediction_type, learn_sigma=learn_sigma, min_snr=min_snr,
        )
        for out, x, e, t in zip(output, latents, noise, timesteps, strict=True)
    ]  # fmt: skip
    assert found.tolist() == pytest.approx(expected, rel=3e-4)


def test_the_authors_normal_distribution_is_near_the_true_one() -> None:
    places = [i / 10 for i in range(-60, 61)]
    true = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in places]
    assert [normal_cdf(x) for x in places] == pytest.approx(true, abs=4e-4)


def test_channels_for_the_variance_are_left_alone_unless_they_learn() -> None:
    output, latents, noise, timesteps = arrays(channels=4, timesteps=[500])
    objective = Objective(prediction_type="epsilon")
    assert torch.equal(
        objective.losses(output, latents, noise, timesteps),
        objective.losses(output[:, :2], latents, noise, timesteps),
    )


def test_the_bound_teaches_the_variance_and_not_the_mean() -> None:
    output, latents, noise, timesteps = arrays(channels=4, timesteps=[0, 700])
    output.requires_grad_()
    losses = [
        Objective(prediction_type="epsilon", learn_sigma=learn)
        .losses(output, latents, noise, timesteps)
        .sum()
        for learn in (False, True)
    ]
    plain, both = (torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in losses)
    assert torch.allclose(plain[:, :2], both[:, :2], atol=1e-7)
    assert plain[:, 2:].abs().max() == 0
    assert both[:, 2:].abs().max() > 0


def test_the_true_variance_has_the_least_bound() -> None:
    """With the noise predicted exactly, p is q where the log-variance is that of the posterior: v = -1."""
    _, latents, noise, timesteps = arrays(channels=4, timesteps=[400])
    objective = Objective(prediction_type="epsilon", learn_sigma=True)

    def loss(v: float) -> float:
        output = torch.cat([noise, torch.full_like(noise, v)], dim=1)
        return objective.losses(output, latents, noise, timesteps).item()

    assert loss(-1.0) == pytest.approx(0.0, abs=1e-5)
    assert loss(0.0) > loss(-1.0)


def test_min_snr_caps_what_clear_pictures_count() -> None:
    weights = Objective(prediction_type="epsilon", min_snr=5.0).weight(torch.tensor([0, 100, 500, 999]))
    snr = [a / (1 - a) for a in (alphas_bar()[t] for t in (0, 100, 500, 999))]
    assert weights.tolist() == pytest.approx([min(s, 5) / s for s in snr], rel=1e-3)
    assert weights[3] == 1


def test_a_velocity_and_its_picture_belong_together() -> None:
    objective = Objective(prediction_type="v_prediction")
    _, latents, noise, timesteps = arrays(channels=2, timesteps=[250])
    kept = SCHEDULE.alphas_cumprod[timesteps]
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    noisy = objective.noisy(latents, noise, timesteps)
    assert torch.allclose(objective.picture(velocity, noisy, kept), latents, atol=1e-5)
    assert math.isclose(objective.losses(velocity, latents, noise, timesteps).item(), 0.0, abs_tol=1e-10)
