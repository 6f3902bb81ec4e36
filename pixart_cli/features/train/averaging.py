"""An autoencoder that starts as an eightfold average and its enlargement, with only edges left to learn.

Started at random, a small autoencoder spends its first thousands of steps on finding three colour axes,
and loses one for long. Every stage of an `AutoencoderKL` has a linear way through it: residual branches
that add nothing, shortcuts and samplers that pass channels on, and pairs ±x, of which the last activation
makes x again: silu(x) - silu(-x) = x. A pair of large constants holds the last norm's scale still.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pixart_cli.features.train.told import AXES, COLOUR_GAINS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

PAIRED = 8  # channels of the linear way: ± lightness, ± two colour differences, ± the constant
CONSTANT = 4.0
LOG_VARIANCE = -5.0


@torch.no_grad()
def start_as_average(vae: AutoencoderKL) -> None:
    """Set `vae`'s weights so that it gives back 8 x 8 blocks of mean colour; needs 16 channels or more.

    Channels beyond the linear way keep their random start: they are what edges are learned from.
    """
    encoder, decoder = vae.encoder, vae.decoder
    for module in (*encoder.modules(), *decoder.modules()):
        _quieten(module)
    _enter(encoder.conv_in, AXES)
    channels, gains = vae.config["latent_channels"], torch.tensor(COLOUR_GAINS)
    _enter(decoder.conv_in, torch.eye(channels)[:3] / gains[:, None])
    _leave(encoder.conv_out, torch.diag(gains), _scale_before(encoder))
    _bias(encoder.conv_out)[channels:] = LOG_VARIANCE
    _leave(decoder.conv_out, AXES.T, _scale_before(decoder))
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(_bias(convolution))


def _quieten(module: Any) -> None:
    """Let residual branches add nothing; shortcuts and samplers pass the linear way on."""
    name = type(module).__name__
    if name == "ResnetBlock2D":
        nn.init.zeros_(module.conv2.weight)
        nn.init.zeros_(module.conv2.bias)
        if module.conv_shortcut is not None:
            _pass_on(module.conv_shortcut)
    elif name in ("Downsample2D", "Upsample2D"):
        _pass_on(module.conv)


def _bias(convolution: nn.Conv2d) -> Tensor:
    """The bias, which every convolution of this network has."""
    return cast("Tensor", convolution.bias)


def _enter(convolution: nn.Conv2d, axes: Tensor) -> None:
    """The first channels become ± `axes` (3, inputs) of the pixel, and ± the constant."""
    convolution.weight[:PAIRED], _bias(convolution)[:PAIRED] = 0.0, 0.0
    middle = convolution.kernel_size[0] // 2
    for k, axis in enumerate(axes):
        for channel, sign in ((2 * k, 1.0), (2 * k + 1, -1.0)):
            convolution.weight[channel, : len(axis), middle, middle] = sign * axis
    _bias(convolution)[PAIRED - 2 : PAIRED] = torch.tensor([CONSTANT, -CONSTANT])


def _pass_on(convolution: nn.Conv2d) -> None:
    """Each channel of the linear way from itself alone: the mean of 2 x 2 where the stride is two."""
    side, stride = convolution.kernel_size[0], convolution.stride[0]
    first, taps = (0, 2) if stride == 2 else (side // 2, 1)
    convolution.weight[:PAIRED], _bias(convolution)[:PAIRED] = 0.0, 0.0
    for channel in range(PAIRED):
        window = slice(first, first + taps)
        convolution.weight[channel, channel, window, window] = 1.0 / taps**2


def _leave(convolution: nn.Conv2d, axes: Tensor, scale: float) -> None:
    """Outputs are `axes` (outputs, 3) of the pairs, undoing the norm's `scale`; the rest starts faint."""
    convolution.weight.mul_(0.05)
    convolution.weight[: len(axes), :PAIRED] = 0.0
    nn.init.zeros_(_bias(convolution))
    middle = convolution.kernel_size[0] // 2
    for row, axis in enumerate(axes):
        for k in range(3):
            for channel, sign in ((2 * k, 1.0), (2 * k + 1, -1.0)):
                convolution.weight[row, channel, middle, middle] = sign * float(axis[k]) * scale


def _scale_before(network: Any) -> float:
    """What the last norm divides by while the constant pair rules its first group."""
    norm: nn.GroupNorm = network.conv_norm_out
    return math.sqrt((2 * CONSTANT**2 + 2.0) / (norm.num_channels / norm.num_groups))
