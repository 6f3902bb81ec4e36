"""Stage one: the autoencoder learns to squeeze posters eightfold and give them back with their edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from pixart_cli.features.train.averaging import start_as_average
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.told import LATENT_CHANNELS, told

if TYPE_CHECKING:
    from pixart_cli.features.train.gallery import Gallery

CHANNELS = (16, 32, 64, 96)
# Few groups: normalised two channels at a time, a flat picture loses which ink it was.
NORM_GROUPS = 2
KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5
INK_WEIGHT = 1.0
TOLD_WEIGHT = 1.0
# (until this share of the stage, pictures a step, crop side): small crops first because edges and inks are
# local, then most of a picture because GroupNorm sees the whole: what crops of 64 pixels taught is 9 dB worse
# there.
Crops = Sequence[tuple[float, int, int]]
CROPS: Crops = ((0.3, 12, 96), (1.0, 4, 192))


def build_autoencoder() -> AutoencoderKL:
    """The network before training, an eightfold average: four levels, 8 latent channels, 1.7 M parameters.

    No attention in the middle: it would be most of the work of a large picture, and flat ones need none.
    """
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=NORM_GROUPS,
        latent_channels=LATENT_CHANNELS,
        mid_block_add_attention=False,
        sample_size=256,
    )
    start_as_average(vae)
    return vae


def crops_of_step(gallery: Gallery, count: int, side: int, generator: torch.Generator) -> Tensor:
    """`count` crops of the pictures of `gallery`, (count, 3, S, S), S `side` or as much as there is."""
    device, (pictures, height, width) = gallery.pixels.device, gallery.pixels.shape[:3]
    side = min(side, height, width)
    rows, tops, lefts = (
        torch.randint(end, (count,), generator=generator, device=device)
        for end in (pictures, height - side + 1, width - side + 1)
    )
    return gallery.crops(rows, tops, lefts, (side, side))


def count_and_side(schedule: Crops, progress: float) -> tuple[int, int]:
    """How many crops `schedule` has at `progress` (0..1) of its stage, and their side."""
    return next((count, side) for until, count, side in schedule if progress < until or until >= 1.0)


def autoencoder_loss(
    vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Absolute error of values and of edges, how far latents stray from what they are told to be, and a
    little KL that keeps their noise from falling to nothing (arXiv 2112.10752, G; without its critic).
    """
    with mixed_precision(pictures.device):
        posterior = vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator, device=pictures.device)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    loss, psnr = reconstruction_loss(decoded.float(), pictures)
    astray = (posterior.mean.float() - told(pictures)).square().mean()
    kl = 0.5 * (posterior.var.float() - 1.0 - posterior.logvar.float()).mean()
    figures = {"psnr": psnr, "astray": astray.detach(), "kl": kl.detach()}
    return loss + TOLD_WEIGHT * astray + KL_WEIGHT * kl, figures


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of values, of edges and of inks, and the PSNR in dB, of (B, 3, H, W) in -1..1."""
    error = decoded - pictures
    value = error.abs().mean() + error.square().mean()
    edges = sum((error.diff(dim=d).abs().mean() for d in (2, 3)), torch.zeros((), device=error.device))
    inks = functional.avg_pool2d(error, 8).abs().mean()
    psnr = -10.0 * torch.log10(error.detach().square().mean() / 4.0 + 1e-12)
    return value + EDGE_WEIGHT * edges + INK_WEIGHT * inks, psnr


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, gallery: Gallery) -> float:
    """1 / standard deviation of the latents over drawn pictures: the config's `scaling_factor`."""
    rows = torch.arange(min(64, len(gallery.pixels)), device=gallery.pixels.device)
    pictures = gallery.whole(rows)
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in pictures.split(8)])
    return round(float(1.0 / latents.float().std()), 5)
