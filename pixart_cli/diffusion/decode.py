"""Latents → pixels and back, and the one question that decides: is this a picture, finite and not constant?

Tensors are asked, not files: a network asked for a black square draws one that is almost black, while
a broken one gives NaN, which a file would show as perfect black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.architecture import is_known
from pixart_cli.diffusion.estimate import in_bands
from pixart_cli.diffusion.memory import cast
from pixart_cli.diffusion.tiled_decode import decode_exact, encode_exact

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

_CONSTANT = 1e-6


def is_picture(tensor: torch.Tensor) -> bool:
    """Whether `tensor` is finite everywhere and not the same everywhere."""
    values = tensor.float()
    return bool(torch.isfinite(values).all()) and bool(values.std() > _CONSTANT)


def decode(vae: AutoencoderKL, latents: torch.Tensor) -> tuple[torch.Tensor, str]:
    """Pixels (H, W, 3), float32 in [0, 1] on the CPU, and the precision they were decoded in.

    A decode that overflows in half precision is done once more in float32, of the same latents. Where a
    whole decode would take much memory it is done in bands, which gives the same picture.

    Raises:
        PixartError: "picture-invalid" when `latents` or, after the retry, the pixels are no picture;
            "disk" when memory is short and the disk full.
    """
    if not is_picture(latents):
        raise invalid("the latents")
    dtype = vae.dtype
    pixels = _decode(vae, latents)
    if is_picture(pixels):
        return _to_unit(pixels), str(dtype).removeprefix("torch.")
    if dtype is torch.float32:
        raise invalid("the decoded picture")
    with cast(vae, torch.float32):
        pixels = _decode(vae, latents)
    if not is_picture(pixels):
        raise invalid("the decoded picture")
    return _to_unit(pixels), "float32"


def encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Latents (1, C, H/8, W/8), float32, scaled, of `pixels` (H, W, 3) in [0, 1]: the posterior's mean.

    An encode that overflows in half precision is done once more in float32.

    Raises:
        PixartError: "picture-invalid" when they are not finite in float32 either, "disk" as in `decode`.
    """
    latents = _encode(vae, pixels)
    if bool(torch.isfinite(latents).all()):
        return latents
    if vae.dtype is torch.float32:
        raise invalid("the encoded picture")
    with cast(vae, torch.float32):
        latents = _encode(vae, pixels)
    if not bool(torch.isfinite(latents).all()):
        raise invalid("the encoded picture")
    return latents


def _encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    parameter = next(vae.parameters())
    signed = (pixels.permute(2, 0, 1)[None] * 2 - 1).to(parameter.device, parameter.dtype)
    if _banded(vae, signed[0, 0].numel()):
        mean = encode_exact(vae, signed).chunk(2, dim=1)[0]
    else:
        mean = vae.encode(signed).latent_dist.mean
    latents: torch.Tensor = (mean.float() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    return latents


def _banded(vae: AutoencoderKL, pixels: int) -> bool:
    return in_bands(vae.config.block_out_channels[0], pixels, vae.dtype.itemsize) and is_known(vae)


def _decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    parameter = next(vae.parameters())
    scaled = scaled.to(parameter.device, parameter.dtype)
    if _banded(vae, 4 ** (len(vae.config.block_out_channels) - 1) * scaled[0, 0].numel()):
        return decode_exact(vae, scaled)[0]
    pixels: torch.Tensor = vae.decode(scaled, return_dict=False)[0][0]
    return pixels


def _to_unit(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).contiguous().cpu()


def invalid(what: str) -> PixartError:
    """The "picture-invalid" error, said of `what`."""
    return PixartError(
        "picture-invalid",
        f"the network drew nothing: {what} held NaN, infinity or one single value, in float32 too",
        "Try another seed or scheduler; if it stays, check the weights with `pixart models verify`.",
    )
