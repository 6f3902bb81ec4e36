"""How many steps of a walk are guided; the two branches of a guided step are `diffusion/sampling.py`'s."""

from __future__ import annotations

import math

_ROUNDING = 1e-9  # 0.29 of 100 steps are 29


def guided_steps(until: float, total: int, *, skipped: int = 0) -> int:
    """Of `total` steps those that are guided: the first share `until` of the whole walk, one at least of it.

    The `skipped` steps before the first of them count as walked: whoever starts from a picture starts where
    less noise is left.
    """
    if until <= 0:
        return 0
    guided = max(1, math.floor(until * (skipped + total) + _ROUNDING))
    return max(0, min(total, guided - skipped))


def made_steps(total: int, strength: float) -> int:
    """Of `total` steps those that are made from a picture to start from, drawn anew by `strength`: one at
    least.
    """
    return max(1, min(total, round(total * strength)))
