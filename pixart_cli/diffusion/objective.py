"""The training objective: velocity prediction on PixArt's linear betas, with a weight per noise level.

PixArt-Σ predicts the noise. For a small network the velocity is the easier target: where all is noise it is
the picture itself, while a picture worked out from predicted noise has its error divided by sqrt(ᾱ), which is
0.006 at the first step.

Shapes: latents and noise (B, C, H, W); timesteps (B,) in 0..999.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NUM_TRAIN_TIMESTEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02
# (timestep, mean squared error of the picture): the built-in model, its latents told what to be, on pictures
# of 256 pixels.
USUAL_ERRORS = (
    (0, 0.0007),
    (30, 0.0017),
    (100, 0.0067),
    (250, 0.024),
    (400, 0.058),
    (550, 0.11),
    (750, 0.19),
    (999, 0.24),
)
_MIDDLE = -0.3  # the logit of the median's share of all timesteps
_ANYWHERE = 1 / 5


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


def velocity_weight(alpha_bar: Tensor, timesteps: Tensor) -> Tensor:
    """The weight of each sample's velocity error, (B,): its picture error over what that usually is there.

    So every noise level counts the same (arXiv 2312.02696, §B.2, with a table in place of a network that
    learns it): unweighted, the noisiest levels rule, where most of the error can never go away. The
    picture's error is (1 - ᾱ) times v's.
    """
    known, errors = np.array(USUAL_ERRORS).T
    usual = np.interp(timesteps.cpu().numpy(), known, errors)
    return (1.0 - alpha_bar) / torch.from_numpy(usual).to(alpha_bar)


def sample_timesteps(count: int, generator: torch.Generator, end: int = NUM_TRAIN_TIMESTEPS) -> Tensor:
    """`count` timesteps below `end`, spread evenly: one random shift of an even grid, so that every batch
    holds all noise levels (arXiv 2107.00630, appendix I.1). On the device of `generator`.
    """
    return (_even(count, generator) * end).long().clamp(0, end - 1)


def middle_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """`count` timesteps, four in five of them logit-normal (arXiv 2403.03206, §3.1), the others uniform.

    Half of those are between 270 and 590: there outlines are made or lost. At the noisiest levels, of which a
    uniform choice takes as many, colours are decided, which are learned first.
    """
    middle = torch.sigmoid(_MIDDLE + torch.special.ndtri(_even(count, generator)))
    anywhere, chance = torch.rand(2, count, generator=generator, device=generator.device)
    chosen = torch.where(chance < _ANYWHERE, anywhere, middle)
    return (chosen * NUM_TRAIN_TIMESTEPS).long().clamp(0, NUM_TRAIN_TIMESTEPS - 1)


def _even(count: int, generator: torch.Generator) -> Tensor:
    """An even grid of `count` numbers over 0..1, shifted by chance."""
    device = generator.device
    return (torch.rand(1, generator=generator, device=device) + torch.arange(count, device=device)) / count
