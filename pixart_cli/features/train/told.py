"""What the latents are told to be: mean colours of 8 x 8 pixels, and how light and warm change inside them.

Left alone, an autoencoder trained for minutes keeps three mean colours and little else: the other channels
stay so faint that the first noise drowns them, and outlines must be guessed. Told, each channel says
something that can be drawn to, with no more fine detail than the picture has (arXiv 2502.14831 on why that
matters), and the encoder's latents are known before it is trained.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

# Rows: lightness, red against blue, green against both; orthonormal.
AXES = torch.tensor(
    [
        [3**-0.5, 3**-0.5, 3**-0.5],
        [2**-0.5, 0.0, -(2**-0.5)],
        [-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)],
    ]
)
COLOUR_GAINS = (2.2, 2.8, 4.1)  # together of about unit deviation over drawn pictures
# (axis, whether it changes down, across, gain): half the difference of the block's halves; the fifth of its
# diagonal quarters. About 0.3 over drawn pictures: plain ground has none, an edge one or more.
DETAILS = (
    (0, True, False, 3.85),
    (0, False, True, 4.44),
    (1, True, False, 7.29),
    (1, False, True, 8.47),
    (0, True, True, 9.69),
)
BLOCK = 8
LATENT_CHANNELS = len(COLOUR_GAINS) + len(DETAILS)


def told(pictures: Tensor) -> Tensor:
    """The latents (B, 8, H/8, W/8) of pictures (B, 3, H, W) in -1..1."""
    return functional.conv2d(pictures, _kernels(pictures.device).to(pictures.dtype), stride=BLOCK)


@lru_cache(maxsize=2)  # a step that is recorded for a GPU may not copy from the processor
def _kernels(device: torch.device) -> Tensor:
    """What each channel weighs a block's pixels by, (8, 3, 8, 8)."""
    even = torch.ones(BLOCK)
    halves = torch.cat([-even[: BLOCK // 2], even[BLOCK // 2 :]])
    kernels = [gain * _block(axis, even, even) for axis, gain in zip(AXES, COLOUR_GAINS, strict=True)]
    for axis, down, across, gain in DETAILS:
        kernels.append(gain * _block(AXES[axis], halves if down else even, halves if across else even))
    return torch.stack(kernels).to(device)


def _block(axis: Tensor, down: Tensor, across: Tensor) -> Tensor:
    return axis[:, None, None] * down[:, None] * across / BLOCK**2
