"""Exact encoding and decoding in bands of rows: the whole picture's result in a fraction of the memory.

diffusers' tiling lets every tile have its own normalisation and attention, which shifts colour and
contrast from tile to tile. Here every GroupNorm takes its statistics from the whole picture and the
attention sees the whole latent, so that the result is the plain one, but for rounding.
docs/decisions/0009 says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pixart_cli.diffusion.architecture import Stage, decoder_stages, encoder_stages
from pixart_cli.diffusion.spill import choose_tier
from pixart_cli.diffusion.sweep import Store

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


@torch.no_grad()
def decode_exact(
    vae: AutoencoderKL, latents: torch.Tensor, *, band: int | None = None, storage: str = "auto"
) -> torch.Tensor:
    """What `vae.decode(latents).sample` gives, (B, 3, H, W) in the VAE's precision and on its device.

    Args:
        latents: (B, C, H/8, W/8), already divided by the scaling factor.
        band: rows computed at once at every size of feature map; None decides by the picture's size.
        storage: where feature maps wait: "device", "pinned" (main memory) or "mapped" (a temporary file);
            "auto" decides by free memory. When memory runs out on the way, the next of them is used, and
            then smaller bands.

    Raises:
        PixartError: "not-in-this-build" for a VAE with a part that is not known here, "disk" when there
            is no room for the temporary file.
        torch.OutOfMemoryError: when not even one row at a time fits.
    """
    stages = decoder_stages(vae)
    scaled = _like(vae, latents)
    return _pictures(
        stages, scaled if vae.post_quant_conv is None else vae.post_quant_conv(scaled), band, storage
    )


@torch.no_grad()
def encode_exact(
    vae: AutoencoderKL, pixels: torch.Tensor, *, band: int | None = None, storage: str = "auto"
) -> torch.Tensor:
    """The moments of the posterior that `vae.encode(pixels)` gives, (B, 2 C, H/8, W/8).

    The first half of the channels is `latent_dist.mean`; diffusers' `DiagonalGaussianDistribution` takes
    the whole. Not multiplied by the scaling factor.

    Args:
        pixels: (B, 3, H, W) in -1 to 1.
        band: as in :func:`decode_exact`.
        storage: as in :func:`decode_exact`.

    Raises:
        PixartError: as in :func:`decode_exact`.
        torch.OutOfMemoryError: as in :func:`decode_exact`.
    """
    moments = _pictures(encoder_stages(vae), _like(vae, pixels), band, storage)
    return moments if vae.quant_conv is None else vae.quant_conv(moments)


def _like(vae: AutoencoderKL, tensor: torch.Tensor) -> torch.Tensor:
    parameter = next(vae.parameters())
    return tensor.to(parameter.device, parameter.dtype)


def _pictures(stages: Sequence[Stage], batch: torch.Tensor, band: int | None, storage: str) -> torch.Tensor:
    """Each picture of `batch` through `stages` by itself: nothing of one depends on another."""
    results = [_picture(stages, picture, band, storage) for picture in batch.split(1)]
    return results[0] if len(results) == 1 else torch.cat(results)


def _picture(stages: Sequence[Stage], picture: torch.Tensor, band: int | None, storage: str) -> torch.Tensor:
    _, channels, height, width = picture.shape
    needed = most_held(stages, height, width) * picture.dtype.itemsize
    store = Store(picture.device, picture.dtype, choose_tier(picture.device, needed, storage), band)
    rows = store.rows(height, width, channels)
    store.attempt(lambda: rows.put(picture))
    for stage in stages:
        rows = stage.run(rows, store)
    return store.whole(rows)


def most_held(stages: Sequence[Stage], height: int, width: int) -> int:
    """The most numbers that wait at any moment while a map of `height` x `width` goes through `stages`."""
    most = 0
    for stage in stages:
        height, width, held = stage.held(height, width)
        most = max(most, held)
    return most
