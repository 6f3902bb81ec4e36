"""Colours held through the cascade: each way through an autoencoder shifts them, everywhere alike."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_CELL: Final = 16
# How many cells' worth of doubt keeps the correction at none: a picture of one ink says little of the others.
_DOUBT: Final = 1e-3


def match_colours(pixels_HWC: Tensor, wanted_HWC: Tensor) -> Tensor:
    """`pixels_HWC` with the colours of `wanted_HWC`, a picture of the same size and composition; in [0, 1].

    One affine map of colours for the whole picture, by least squares over cells of 16 x 16 pixels and held
    near the identity. Nothing local is touched: edges stay as sharp as they are, and there are no halos.
    """
    have, want = (_cells(picture) for picture in (pixels_HWC, wanted_HWC))
    middle = want.mean(0)
    source = torch.cat([have - middle, torch.ones(len(have), 1, dtype=have.dtype)], dim=1)
    gram = source.T @ source / len(have) + _DOUBT * torch.eye(4, dtype=have.dtype)
    missing = source.T @ (want - have) / len(have)
    change = torch.linalg.solve(gram, missing)
    # pixels + (pixels - middle) · change, multiplied out: one pass over the picture.
    matrix = torch.eye(3, dtype=change.dtype) + change[:3]
    shift = change[3] - middle @ change[:3]
    flat = pixels_HWC.reshape(-1, 3)
    matched = torch.addmm(shift.to(flat.dtype), flat, matrix.to(flat.dtype)).clamp_(0, 1)
    return matched.view(pixels_HWC.shape)


def _cells(picture_HWC: Tensor) -> Tensor:
    """Mean colours of the cells, (N, 3), float64."""
    height, width = (side // _CELL for side in picture_HWC.shape[:2])
    if (height * _CELL, width * _CELL) == picture_HWC.shape[:2]:
        means = picture_HWC.reshape(height, _CELL, width, _CELL, 3).mean(dim=(1, 3))
        return means.flatten(0, 1).double()
    pooled = functional.avg_pool2d(picture_HWC.permute(2, 0, 1)[None], _CELL, ceil_mode=True)
    return pooled[0].flatten(1).T.double()
