"""An AutoencoderKL's modules → stages, every part looked at: what is not known is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UNetMidBlock2D, UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.attention import Attending
from pixart_cli.diffusion.stages import Doubling, Filter, Residual

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

_POINTWISE: Final = frozenset({nn.SiLU, nn.ReLU, nn.GELU, nn.Mish})
_PLAIN: Final = (1, 1)
Stage = Filter | Residual | Doubling | Attending


def decoder_stages(vae: AutoencoderKL) -> list[Stage]:
    """`vae.decoder` as stages, in order.

    Raises:
        PixartError: "not-in-this-build" naming the module that is not known.
    """
    decoder = vae.decoder
    stages = [_filter("decoder.conv_in", decoder.conv_in), *_mid("decoder.mid_block", decoder.mid_block)]
    for index, block in enumerate(decoder.up_blocks):
        name = f"decoder.up_blocks.{index}"
        _expect(name, block, UpDecoderBlock2D)
        stages += _residuals(f"{name}.resnets", block.resnets)
        stages += [_doubling(f"{name}.upsamplers", each) for each in block.upsamplers or ()]
    return [*stages, _head("decoder", decoder)]


def is_known(vae: AutoencoderKL) -> bool:
    """Whether `vae.decoder` can be computed in bands."""
    try:
        decoder_stages(vae)
    except PixartError:
        return False
    return True


def encoder_stages(vae: AutoencoderKL) -> list[Stage]:
    """`vae.encoder` as stages, in order.

    Raises:
        PixartError: "not-in-this-build" naming the module that is not known.
    """
    encoder = vae.encoder
    stages: list[Stage] = [_filter("encoder.conv_in", encoder.conv_in)]
    for index, block in enumerate(encoder.down_blocks):
        name = f"encoder.down_blocks.{index}"
        _expect(name, block, DownEncoderBlock2D)
        stages += _residuals(f"{name}.resnets", block.resnets)
        stages += [_halving(f"{name}.downsamplers", each) for each in block.downsamplers or ()]
    return [*stages, *_mid("encoder.mid_block", encoder.mid_block), _head("encoder", encoder)]


def _mid(name: str, block: Any) -> Iterator[Stage]:
    _expect(name, block, UNetMidBlock2D)
    first, *others = _residuals(f"{name}.resnets", block.resnets)
    yield first
    for attention, residual in zip(block.attentions, others, strict=True):
        if attention is not None:
            yield _attending(f"{name}.attentions", attention)
        yield residual


def _residuals(name: str, blocks: Any) -> list[Stage]:
    return [_residual(f"{name}.{index}", block) for index, block in enumerate(blocks)]


def _residual(name: str, block: Any) -> Residual:
    _expect(name, block, ResnetBlock2D)
    _expect(f"{name}.nonlinearity", block.nonlinearity, *_POINTWISE)
    for norm in ("norm1", "norm2"):
        _expect(f"{name}.{norm}", getattr(block, norm), nn.GroupNorm)
    for conv in ("conv1", "conv2"):
        _convolution(f"{name}.{conv}", getattr(block, conv))
    if block.conv_shortcut is not None:
        _convolution(f"{name}.conv_shortcut", block.conv_shortcut)
    resampled = block.upsample is not None or block.downsample is not None
    timed = block.time_emb_proj is not None or block.time_embedding_norm == "scale_shift"
    if resampled or timed or (block.training and block.dropout.p):
        raise _unknown(name, "a ResnetBlock2D that resamples, takes a time embedding or drops out")
    return Residual(block)


def _doubling(name: str, block: Any) -> Doubling:
    _expect(name, block, Upsample2D)
    if block.norm is not None or block.use_conv_transpose or not (block.use_conv and block.interpolate):
        raise _unknown(name, "an Upsample2D that is not nearest-neighbour and a convolution")
    conv = block.conv if block.name == "conv" else block.Conv2d_0
    _convolution(f"{name}.conv", conv)
    if conv.kernel_size != (3, 3) or conv.padding != _PLAIN or conv.stride != _PLAIN:
        raise _unknown(f"{name}.conv", "a convolution that is not 3x3")
    return Doubling(conv)


def _halving(name: str, block: Any) -> Filter:
    _expect(name, block, Downsample2D)
    if block.norm is not None or not block.use_conv:
        raise _unknown(name, "a Downsample2D that is not one convolution")
    _convolution(f"{name}.conv", block.conv)
    # diffusers' Downsample2D adds a row below and a column to the right where the convolution pads nothing.
    return Filter(block.conv, (0, 1, 0, 1) if block.padding == 0 else None)


def _attending(name: str, attention: Any) -> Attending:
    _expect(name, attention, Attention)
    _expect(f"{name}.processor", attention.processor, AttnProcessor2_0, AttnProcessor)
    for layer in ("to_q", "to_k", "to_v"):
        _expect(f"{name}.{layer}", getattr(attention, layer), nn.Linear)
    _expect(f"{name}.to_out.0", attention.to_out[0], nn.Linear)
    if attention.group_norm is not None:
        _expect(f"{name}.group_norm", attention.group_norm, nn.GroupNorm)
    if any(getattr(attention, part, None) is not None for part in ("spatial_norm", "norm_q", "norm_k")):
        raise _unknown(name, "an Attention with norms of its own")
    return Attending(attention)


def _head(name: str, coder: Any) -> Filter:
    """The last norm, activation and convolution."""
    _expect(f"{name}.conv_norm_out", coder.conv_norm_out, nn.GroupNorm)
    _expect(f"{name}.conv_act", coder.conv_act, *_POINTWISE)
    _convolution(f"{name}.conv_out", coder.conv_out)
    return Filter(coder.conv_out, norm=coder.conv_norm_out, activation=coder.conv_act)


def _filter(name: str, conv: Any) -> Filter:
    _convolution(name, conv)
    return Filter(conv)


def _convolution(name: str, conv: Any) -> None:
    _expect(name, conv, nn.Conv2d)
    if (
        isinstance(conv.padding, str)
        or conv.groups != 1
        or conv.dilation != _PLAIN
        or conv.padding_mode != "zeros"
        or conv.stride[0] != conv.stride[1]
    ):
        raise _unknown(name, "a grouped, dilated or unevenly strided convolution")


def _expect(name: str, module: object, *classes: type) -> None:
    """Only the very classes: one derived from them, or wrapped around them, may compute something else."""
    if type(module) not in classes:
        raise _unknown(name, f"a {type(module).__name__}")


def _unknown(name: str, what: str) -> PixartError:
    return PixartError(
        "not-in-this-build",
        f"the VAE cannot be computed in bands: its {name} is {what}",
        "Use a VAE of the Stable Diffusion family, built from diffusers' own blocks.",
    )
