"""Muon: steps whose matrices turn all directions alike, instead of the few that gradients favour.

As Jordan et al. (2024, github.com/KellerJordan/Muon) describe it, with the step's size matched to AdamW's
(arXiv 2502.16982, eq. 4). `torch.optim.Muon` reads its learning rate in Python, so a step recorded for a GPU
would keep the first one for ever; and it takes each matrix alone, where here those of one shape go together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# A quintic that takes singular values between 0 and 1 to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """For matrices alone; `lr`, a number or a tensor on their device, is as AdamW's would be."""

    def __init__(self, matrices: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon is for matrices")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's takes a loss as well
        """Move every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("a step is made once")
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                ahead = torch.stack([self._ahead(matrix, group["momentum"]) for matrix in matrices])
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, turned in zip(matrices, orthogonal(ahead).to(ahead.dtype) * size, strict=True):
                    matrix.sub_(turned)

    def _ahead(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum of `matrix`, its gradient taken in."""
        if matrix.grad is None:
            raise ValueError("a matrix without a gradient")
        kept = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        kept.lerp_(matrix.grad, 1.0 - momentum)
        return matrix.grad.lerp(kept, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U Vᵀ of each of `matrices` (N, rows, columns) = U S Vᵀ, by Newton and Schulz, in bfloat16."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_LEAST_NORM)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
