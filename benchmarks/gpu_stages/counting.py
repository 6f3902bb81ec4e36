"""Operations that denoising runs, counted one by one on tensors without memory."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import init_empty_weights
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_stages.networks import Shapes
from pixart_cli.core.guidance import guided_steps
from pixart_cli.diffusion.estimate import windows
from pixart_cli.diffusion.forward import Forward
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel


def counted(shapes: Shapes, native: Any, passes: Any) -> float:
    """Multiplications and additions of matrix products that denoising runs, from shapes alone."""
    with init_empty_weights(include_buffers=False):
        network = PixArtSigmaTransformer2DModel(**shapes.transformer)
    network = network.to(torch.bfloat16).to("meta").eval()
    base = [one_forward(network, shapes, (native.height, native.width), branches) for branches in (2, 1)]
    total = base[0] * shapes.spec.default_steps
    window = (shapes.spec.native, shapes.spec.native)
    each = [one_forward(network, shapes, window, branches) for branches in (2, 1)]
    for one in passes:
        guided = guided_steps(one.guidance_until, one.steps)
        forwards = guided * each[0] + (one.steps - guided) * each[1]
        total += windows(one, shapes.spec.native) * forwards
    return total


def one_forward(network: Any, shapes: Shapes, size: tuple[int, int], branches: int) -> float:
    """Operations of a step after the first."""
    channels = shapes.transformer["caption_channels"]
    embeds = [torch.empty(length, channels, device="meta", dtype=torch.bfloat16)
              for length in (1, shapes.tokens)]  # fmt: skip
    latents = torch.empty(1, 4, size[0] // 8, size[1] // 8, device="meta", dtype=torch.bfloat16)
    timestep = torch.empty(1, device="meta")
    forward = Forward(network, embeds, {"resolution": None, "aspect_ratio": None})
    forward(latents, timestep, branches=branches)
    with FlopCounterMode(display=False) as counter:
        forward(latents, timestep, branches=branches)
    return float(counter.get_total_flops())
