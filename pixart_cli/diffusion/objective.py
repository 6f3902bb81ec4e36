"""The training objective: velocity prediction on PixArt's linear betas, with a weight per noise level.

PixArt-Σ predicts the noise. For a small network the velocity is the easier target: where all is noise it is
the picture itself, while a picture worked out from predicted noise has its error divided by sqrt(ᾱ), which is
0.006 at the first step.

Shapes: latents and noise (B, C, H, W); timesteps (B,) in 0..999.
"""

from __future__ import annotations

import torch
from torch import Tensor

NUM_TRAIN_TIMESTEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02


def alphas_cumprod() -> Tensor:
    """ᾱ_t of the linear schedule, (1000,) float32 (DDPM, arXiv 2006.11239, §2; PixArt-sigma `iddpm`)."""
    betas = torch.linspace(BETA_START, BETA_END, NUM_TRAIN_TIMESTEPS, dtype=torch.float64)
    return torch.cumprod(1.0 - betas, dim=0).float()


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t = sqrt(ᾱ) x_0 + sqrt(1 - ᾱ) ε (arXiv 2006.11239, eq. 4); `alpha_bar` is (B,)."""
    a = alpha_bar.view(-1, 1, 1, 1)
    return a.sqrt() * latents + (1.0 - a).sqrt() * noise


def velocity(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """v = sqrt(ᾱ) ε - sqrt(1 - ᾱ) x_0 (arXiv 2202.00512, §4, with α and σ the roots); `alpha_bar` is (B,)."""
    a = alpha_bar.view(-1, 1, 1, 1)
    return a.sqrt() * noise - (1.0 - a).sqrt() * latents


def velocity_weight(alpha_bar: Tensor, gamma: float = 5.0) -> Tensor:
    """The weight of each sample's velocity error, (B,): its picture error counts clamp(SNR, 1, γ) times.

    min(SNR, γ) (arXiv 2303.09556, eq. 5) keeps nearly clean samples from ruling; the least weight of one lets
    the very noisy ones, where the composition is decided, count. The picture's error is (1 - ᾱ) times v's.
    """
    snr = alpha_bar / (1.0 - alpha_bar)
    return (1.0 - alpha_bar) * snr.clamp(1.0, gamma)


def sample_timesteps(
    count: int,
    generator: torch.Generator,
    late_share: float = 0.5,
    late: int = 350,
    end: int = NUM_TRAIN_TIMESTEPS,
) -> Tensor:
    """`count` timesteps below `end`, spread evenly over a mixture: uniform over all, a `late_share` from
    `late` on only.

    One random shift of an even grid, sent through the mixture's inverse distribution, so that every batch
    holds all noise levels (arXiv 2107.00630, appendix I.1).
    """
    grid = (torch.rand(1, generator=generator) + torch.arange(count)) / count
    late = min(late, end)
    early = 1.0 if late == end else (1.0 - late_share) * late / end  # the probability of one below `late`
    below = grid / early * late
    above = late + (grid - early) / max(1.0 - early, 1e-9) * (end - late)
    return torch.where(grid < early, below, above).long().clamp(0, end - 1)
