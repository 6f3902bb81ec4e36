"""First-block caching: where the first block does the same as a step before, the others are taken to as well.

Not exact. The idea is that of ParaAttention's first block cache and diffusers' `apply_first_block_cache`,
which does not work on PixArt's class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _alone(sums: Tensor) -> Tensor:
    """The sums over all processes, where there is one."""
    return sums


class FirstBlockCache:
    """What the blocks after the first added, remembered for steps in which the first adds nearly the same.

    One picture's: make a new one for the next. 0 never skips; a step that is skipped costs one block.

    Args:
        threshold: the relative change of the first block's residual, mean |r - r'| / mean |r'|, below which
            the others are skipped.

    Attributes:
        skipped: in how many steps they were.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.skipped = 0
        self._first: Tensor | None = None
        self._rest: Tensor | None = None

    def recall(self, first_BNC: Tensor, total: Callable[[Tensor], Tensor] = _alone) -> Tensor | None:
        """What the other blocks added when the first last added `first_BNC` or nearly so, or None.

        `total` adds sums up over all processes that hold a part of the tokens, so that all decide alike.
        """
        before, rest = self._first, self._rest
        if before is not None and rest is not None and before.shape == first_BNC.shape:
            sums = [each.abs().sum(dtype=torch.float32) for each in (first_BNC - before, before)]
            change, whole = total(torch.stack(sums))
            if change < self.threshold * whole:
                self.skipped += 1
                return rest
        self._first = first_BNC
        return None

    def keep(self, rest_BNC: Tensor) -> None:
        """Remember what the other blocks added in this step."""
        self._rest = rest_BNC

    def forget(self) -> None:
        """Remember nothing."""
        self._first = self._rest = None
