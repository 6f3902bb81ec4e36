"""First-block caching: where the first block does the same as a step before, the others are taken to as well.

Not exact. The idea is that of ParaAttention's first block cache and diffusers' `apply_first_block_cache`,
which does not work on PixArt's class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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

    def recall(self, first_BNC: Tensor) -> Tensor | None:
        """What the other blocks added when the first last added `first_BNC` or nearly so, or None."""
        before, rest = self._first, self._rest
        if before is not None and rest is not None and before.shape == first_BNC.shape:
            change = (first_BNC - before).abs().mean() / before.abs().mean()
            if change < self.threshold:
                self.skipped += 1
                return rest
        self._first = first_BNC
        return None

    def keep(self, rest_BNC: Tensor) -> None:
        """Remember what the other blocks added in this step."""
        self._rest = rest_BNC
