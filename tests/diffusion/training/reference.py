"""The training loss and AdamW, written from the papers' formulas alone: slow, plain, double precision.

DDPM (arXiv 2006.11239) eq. 4, 6, 7, 13; IDDPM (arXiv 2102.09672) eq. 15, 16; min-SNR (arXiv 2303.09556);
AdamW (arXiv 1711.05101), algorithm 2.
"""

from __future__ import annotations

import functools
import math


@functools.cache
def betas() -> tuple[float, ...]:
    """β_t, t = 1 … 1000 at index t - 1."""
    return tuple(1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000))


@functools.cache
def alphas_bar() -> tuple[float, ...]:
    """ᾱ_t = Π (1 - β_s)."""
    kept, found = 1.0, []
    for beta in betas():
        kept *= 1 - beta
        found.append(kept)
    return tuple(found)


def posterior_variance(t: int) -> float:
    """β̃_t = (1 - ᾱ_{t-1}) / (1 - ᾱ_t) β_t; that of the second step stands for the first, where it is 0."""
    t = max(t, 1)
    return (1 - alphas_bar()[t - 1]) / (1 - alphas_bar()[t]) * betas()[t]


def posterior_mean(x: float, noisy: float, t: int) -> float:
    """μ̃_t(x_t, x_0), eq. 7."""
    before = alphas_bar()[t - 1] if t else 1.0
    of_start = math.sqrt(before) * betas()[t] / (1 - alphas_bar()[t])
    of_noisy = math.sqrt(1 - betas()[t]) * (1 - before) / (1 - alphas_bar()[t])
    return of_start * x + of_noisy * noisy


def normal_cdf(x: float) -> float:
    """The normal distribution's, nearly: IDDPM's code takes Page's approximation (1977), and so PixArt's."""
    return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def bound(x: float, noisy: float, start: float, v: float, t: int) -> float:
    """One number's share of the variational bound, in bits."""
    share = (v + 1) / 2
    log_variance = share * math.log(betas()[t]) + (1 - share) * math.log(posterior_variance(t))
    mean = posterior_mean(start, noisy, t)
    if t == 0:
        deviation = math.exp(log_variance / 2)
        above = 1.0 if x > 0.999 else normal_cdf((x + 1 / 255 - mean) / deviation)
        below = 0.0 if x < -0.999 else normal_cdf((x - 1 / 255 - mean) / deviation)
        return -math.log(max(above - below, 1e-12)) / math.log(2)
    true_log, true_mean = math.log(posterior_variance(t)), posterior_mean(x, noisy, t)
    nats = 0.5 * (
        log_variance - true_log - 1 + math.exp(true_log - log_variance)
        + (true_mean - mean) ** 2 / math.exp(log_variance)
    )  # fmt: skip
    return nats / math.log(2)


def reference_loss(
    output: list[float], latents: list[float], noise: list[float], t: int, *,
    prediction_type: str = "epsilon", learn_sigma: bool = False, min_snr: float = 0.0,
) -> float:  # fmt: skip
    """The loss of one sample; `output` has noise first, then, where it learns, v of the variance."""
    kept, count = alphas_bar()[t], len(latents)
    signal, sigma = math.sqrt(kept), math.sqrt(1 - kept)
    squares, bits = 0.0, 0.0
    for i, (x, e) in enumerate(zip(latents, noise, strict=True)):
        noisy, said = signal * x + sigma * e, output[i]
        epsilon = prediction_type == "epsilon"
        target = e if epsilon else signal * e - sigma * x
        squares += (said - target) ** 2
        if learn_sigma:
            start = (noisy - sigma * said) / signal if epsilon else signal * noisy - sigma * said
            bits += bound(x, noisy, start, output[count + i], t)
    snr = kept / (1 - kept)
    weight = min(snr, min_snr) / (snr if prediction_type == "epsilon" else snr + 1) if min_snr else 1.0
    return weight * squares / count + bits / count


def adamw(
    weight: float, gradient: float, *, rate: float, decay: float, beta1: float, beta2: float, step: int = 1
) -> float:
    """The weight after the first step of AdamW, whose moments start at nothing."""
    first = (1 - beta1) * gradient / (1 - beta1**step)
    second = (1 - beta2) * gradient**2 / (1 - beta2**step)
    return weight * (1 - rate * decay) - rate * first / (math.sqrt(second) + 1e-8)
