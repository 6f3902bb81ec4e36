"""The optimizers, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from pixart_cli.core.errors import PixartError

EXTRA = "pip install 'pixart-cli[train]'"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast is learned: `schedule` is "constant", "cosine" or "linear", after `warmup_steps`."""

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "constant"
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def rate(self, step: int) -> float:
        """The learning rate of `step` (from 0); a cosine and a line reach nothing after the last."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (1 - done if self.schedule == "linear" else 1)


def build_optimizer(weights: Iterable[nn.Parameter], pace: Pace) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101), or CAME (arXiv 2307.02047) as the authors of PixArt-Σ use it.

    Raises:
        PixartError: "not-in-this-build" when CAME's library is not installed.
    """
    learning = list(weights)
    if pace.optimizer == "adamw":
        fused = all(each.device.type in ("cpu", "cuda") for each in learning)
        return torch.optim.AdamW(
            learning, lr=pace.learning_rate, betas=pace.betas, weight_decay=pace.weight_decay, fused=fused
        )
    try:
        from pytorch_optimizer import CAME
    except ImportError:
        what = 'optimizer = "came" needs the library pytorch-optimizer'
        raise PixartError("not-in-this-build", what, f"Install it: {EXTRA}") from None
    optimizer: torch.optim.Optimizer = CAME(
        learning, lr=pace.learning_rate, betas=(*pace.betas, 0.9999), weight_decay=pace.weight_decay,
        eps1=1e-30, eps2=1e-16,
    )  # fmt: skip
    return optimizer
