"""Latents → pixels and back, and the one question that decides: is this a picture, finite and not constant?

Tensors are asked, not files: a network asked for a black square draws one that is almost black, while
a broken one gives NaN, which a file would show as perfect black.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return _is_finite(values) and bool(values.std() > _CONSTANT)


def sound(
    network: torch.nn.Module,
    work: Callable[[], torch.Tensor],
    what: str,
    accept: Callable[[torch.Tensor], bool] = is_picture,
) -> tuple[torch.Tensor, str]:
    """What `work` gives with `network`, and the precision it was computed in.

    What `accept` refuses, as half precision that overflowed, is computed once more in float32.

    Raises:
        PixartError: "picture-invalid" of `what`, when that is refused too.
    """
    dtype = next(network.parameters()).dtype
    result = work()
    if not accept(result) and dtype is not torch.float32:
        dtype = torch.float32
        with cast(network, dtype):
            result = work()
    if not accept(result):
        raise invalid(what)
    return result, str(dtype).removeprefix("torch.")


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
    pixels, dtype = sound(vae, lambda: _decode(vae, latents), "the decoded picture")
    return _to_unit(pixels), dtype


def encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Latents (1, C, H/8, W/8), float32, scaled, of `pixels` (H, W, 3) in [0, 1]: the posterior's mean.

    An encode that overflows in half precision is done once more in float32.

    Raises:
        PixartError: "picture-invalid" when they are not finite in float32 either, "disk" as in `decode`.
    """
    return sound(vae, lambda: _encode(vae, pixels), "the encoded picture", _is_finite)[0]


def posterior(vae: AutoencoderKL, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, standard deviation), each (C, H/8, W/8) float32 and scaled, of `pixels` (H, W, 3) in [0, 1].

    Raises:
        PixartError: as :func:`encode`.
    """
    moments = sound(vae, lambda: _moments(vae, pixels), "the encoded picture", _is_finite)[0].float()
    mean, log_variance = moments[0].chunk(2)
    shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
    return (mean - shift) * scale, (log_variance.clamp(-30, 20) / 2).exp() * scale


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    mean = _moments(vae, pixels).chunk(2, dim=1)[0]
    latents: torch.Tensor = (mean.float() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    return latents


def _moments(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Mean and log-variance, (1, 2 C, H/8, W/8), not scaled."""
    parameter = next(vae.parameters())
    signed = (pixels.permute(2, 0, 1)[None] * 2 - 1).to(parameter.device, parameter.dtype)
    if _banded(vae, signed[0, 0].numel()):
        return encode_exact(vae, signed)
    moments: torch.Tensor = vae.encode(signed).latent_dist.parameters
    return moments


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
