"""The moving average of the weights (EMA), which is what a training exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """A float32 average of `weights`, tensors in training by name; 0 for `decay` keeps none.

    The decay grows from 0.1 to `decay` as steps are made, so that a short run is averaged, too
    (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self._weights, self._decay = weights, decay
        self.tensors = {k: v.detach().float().clone() for k, v in weights.items()} if decay else {}

    @torch.no_grad()
    def move(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        keep = min(self._decay, (1 + step) / (10 + step))
        for name, value in self.tensors.items():
            value.lerp_(self._weights[name].float(), 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the weights are the average; after it they are what they were, to the bit."""
        kept = {name: self._weights[name].detach().clone() for name in self.tensors}
        try:
            self._put(self.tensors)
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            self._weights[name].copy_(value)
