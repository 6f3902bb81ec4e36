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

from pixart_cli.features.train.team import ALONE, Team

# A quintic that takes singular values between 0 and 1 to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """For matrices alone; `lr`, a number or a tensor on their device, is as AdamW's would be.

    The processes of a `team`, all with the same gradients, share the matrices out.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95, team: Team = ALONE
    ) -> None:
        self._team = team
        super().__init__(matrices, {"lr": lr, "momentum": momentum})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon is for matrices")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's takes a loss as well
        """Move every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("a step is made once")
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append((matrix, self._ahead(matrix, matrix.grad, group["momentum"])))
            for shape, pairs in alike.items():
                ahead = torch.stack([each for _, each in pairs])
                moves = self._team.spread(orthogonal, ahead).to(ahead.dtype) * (
                    group["lr"] * 0.2 * max(shape) ** 0.5
                )
                for (matrix, _), move in zip(pairs, moves, strict=True):
                    matrix.sub_(move)

    def _ahead(self, matrix: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum of `matrix`, its `gradient` taken in."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        kept: Tensor = state["momentum"].lerp_(gradient, 1.0 - momentum)
        return gradient.lerp(kept, momentum)


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
