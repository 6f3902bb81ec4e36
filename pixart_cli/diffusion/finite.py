"""Whether a tensor holds numbers alone."""

from __future__ import annotations

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether `tensor` holds neither NaN nor infinity; an empty one does not.

    Least and greatest tell of any, and cannot overflow as a sum would.
    """
    return not tensor.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
