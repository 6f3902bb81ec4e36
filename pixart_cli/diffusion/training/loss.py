"""The training loss as PixArt's authors have it: predicted noise, and a learned sigma where there is one.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239; Nichol & Dhariwal 2021 (IDDPM), arXiv 2102.09672, §3.1;
Hang et al. 2023 (min-SNR), arXiv 2303.09556. PixArt-sigma's `gaussian_diffusion.py` is the same with
LEARNED_RANGE and LossType.MSE: the variational bound is not rescaled, and the mean is detached in it.

Shapes: latents x, noise ε and predictions (B, C, H, W); timesteps (B,) in 0..999; every loss (B,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pixart_cli.diffusion.objective import (
    BETA_END,
    BETA_START,
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    velocity,
)

PREDICTIONS: Final = ("epsilon", "v_prediction")
_HALF_STEP: Final = (
    1 / 255
)  # the decoder of timestep 0 sees values in steps of 2/255 (arXiv 2006.11239, §3.3)
_EDGE: Final = 0.999


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the transformer learns.

    Attributes:
        prediction_type: "epsilon", or "v_prediction", as the model's scheduler reads its output.
        learn_sigma: whether the second half of the channels learns the variance.
        min_snr: γ of the min-SNR weight; 0 for none.
    """

    prediction_type: str
    learn_sigma: bool = False
    min_snr: float = 0.0

    def losses(self, output: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of each sample, (B,), of the transformer's `output` (B, C or 2 C, H, W), in float32."""
        predicted = output.float()[:, : latents.shape[1]]
        kept = _at(SCHEDULE.alphas_cumprod, timesteps)
        target = noise if self.prediction_type == "epsilon" else velocity(latents, noise, kept)
        loss = (predicted - target).square().mean(dim=(1, 2, 3)) * self.weight(timesteps)
        if self.learn_sigma:
            sigma = output.float()[:, latents.shape[1] :]
            start = self.picture(predicted.detach(), add_noise(latents, noise, kept), kept)
            loss = loss + bound(start, sigma, latents, noise, timesteps)
        return loss

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t, what the transformer is shown."""
        return add_noise(latents, noise, _at(SCHEDULE.alphas_cumprod, timesteps))

    def weight(self, timesteps: Tensor) -> Tensor:
        """min(SNR, γ) / SNR for noise, min(SNR, γ) / (SNR + 1) for the velocity: arXiv 2303.09556, §3.4."""
        kept = _at(SCHEDULE.alphas_cumprod, timesteps)
        if self.min_snr == 0:
            return torch.ones_like(kept)
        snr = kept / (1 - kept)
        return snr.clamp(max=self.min_snr) / (snr if self.prediction_type == "epsilon" else snr + 1)

    def picture(self, predicted: Tensor, noisy: Tensor, kept: Tensor) -> Tensor:
        """x_0 as `predicted` has it: (x_t - sqrt(1 - ᾱ) ε) / sqrt(ᾱ), or sqrt(ᾱ) x_t - sqrt(1 - ᾱ) v."""
        signal, sigma = kept.sqrt().view(-1, 1, 1, 1), (1 - kept).sqrt().view(-1, 1, 1, 1)
        if self.prediction_type == "epsilon":
            return (noisy - sigma * predicted) / signal
        return signal * noisy - sigma * predicted


class Schedule:
    """The tables of the linear betas, each (1000,) float32, worked out in float64."""

    def __init__(self) -> None:
        betas = torch.linspace(BETA_START, BETA_END, NUM_TRAIN_TIMESTEPS, dtype=torch.float64)
        kept = torch.cumprod(1 - betas, dim=0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        variance = betas * (1 - before) / (1 - kept)  # arXiv 2006.11239, eq. 7
        # The variance of timestep 0 is 0: its logarithm is that of timestep 1, as in IDDPM.
        self.log_variance = torch.cat([variance[1:2], variance[1:]]).log().float()
        self.log_betas = betas.log().float()
        self.alphas_cumprod = kept.float()
        self.of_start = (betas * before.sqrt() / (1 - kept)).float()
        self.of_noisy = ((1 - before) * (1 - betas).sqrt() / (1 - kept)).float()


SCHEDULE: Final = Schedule()


def bound(start: Tensor, sigma: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The variational bound of each sample in bits a number, (B,); only `sigma` learns by it.

    The log-variance lies between β̃ and β: v log β + (1 - v) log β̃ with v = (`sigma` + 1) / 2 (arXiv
    2102.09672, eq. 15). Above timestep 0 it is the divergence of q(x_{t-1} | x_t, x_0) from p, at 0 the
    likelihood of x_0 itself. `start` is the predicted x_0, already detached.
    """
    noisy = add_noise(latents, noise, _at(SCHEDULE.alphas_cumprod, timesteps))
    of_start, of_noisy = (_wide(table, timesteps) for table in (SCHEDULE.of_start, SCHEDULE.of_noisy))
    true_mean, mean = of_start * latents + of_noisy * noisy, of_start * start + of_noisy * noisy
    least, most = _wide(SCHEDULE.log_variance, timesteps), _wide(SCHEDULE.log_betas, timesteps)
    share = (sigma + 1) / 2
    log_variance = share * most + (1 - share) * least
    divergence = _divergence(true_mean, least, mean, log_variance)
    likelihood = -_log_likelihood(latents, mean, log_variance / 2)
    bits = torch.where((timesteps == 0).view(-1, 1, 1, 1), likelihood, divergence)
    return bits.mean(dim=(1, 2, 3)) / math.log(2)


def _divergence(mean_q: Tensor, log_q: Tensor, mean_p: Tensor, log_p: Tensor) -> Tensor:
    """KL(q ‖ p) of two Gaussians by mean and log-variance, number by number."""
    return 0.5 * (log_p - log_q - 1 + (log_q - log_p).exp() + (mean_q - mean_p).square() * (-log_p).exp())


def _log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Of `x` in a Gaussian cut into steps of 2/255, open at both ends: arXiv 2006.11239, eq. 13."""
    scale = (-log_scale).exp()
    above, below = (_cumulative(scale * (x - mean + side)) for side in (_HALF_STEP, -_HALF_STEP))
    inside = torch.where(x > _EDGE, 1 - below, above - below)
    return torch.where(x < -_EDGE, above, inside).clamp(min=1e-12).log()


def _cumulative(x: Tensor) -> Tensor:
    """The normal distribution's, by the tanh that IDDPM uses."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))


def _at(table: Tensor, timesteps: Tensor) -> Tensor:
    return table.to(timesteps.device)[timesteps]


def _wide(table: Tensor, timesteps: Tensor) -> Tensor:
    return _at(table, timesteps).view(-1, 1, 1, 1)
