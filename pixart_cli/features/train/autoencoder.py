"""Stage one: the autoencoder learns to squeeze posters eightfold and give them back with their edges."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from pixart_cli.features.train.averaging import start_as_average
from pixart_cli.features.train.draw import draw
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.scene import sample_scene
from pixart_cli.features.train.team import Team

if TYPE_CHECKING:
    from PIL import Image

CHANNELS = (16, 32, 64, 96)
# Few groups: normalised two channels at a time, a flat picture loses which ink it was.
NORM_GROUPS = 2
KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5
INK_WEIGHT = 1.0
LIKENESS_WEIGHT = 0.05
Crops = Sequence[tuple[int, int, int]]
# (until this step, pictures a step, crop side): small crops first because edges and inks are local,
# then larger ones because GroupNorm and the attention in the middle see the whole.
CROPS: Crops = ((1300, 24, 64), (1450, 8, 160), (1900, 8, 128))
PICTURE_SIZES = ((128, 128), (168, 120), (120, 168), (256, 256), (336, 240), (240, 336), (448, 256))


def build_autoencoder() -> AutoencoderKL:
    """The network before training, an eightfold average: four levels, 4 latent channels, 1.7 M parameters."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=NORM_GROUPS,
        latent_channels=4,
        sample_size=256,
    )
    start_as_average(vae)
    return vae


def to_tensor(pictures: Sequence[object]) -> Tensor:
    """PIL pictures of one size as (B, 3, H, W) in -1..1."""
    array = np.stack([np.asarray(picture, dtype=np.uint8) for picture in pictures])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def crops_of_step(step: int, schedule: Crops, seed: str, team: Team) -> Tensor:
    """The crops of one step, (B, 3, S, S): drawn afresh, a function of the step alone."""
    count, side = count_and_side(schedule, step)
    return draw_crops(team.share(count), side, team.chance(f"{seed} {step}"))


def count_and_side(schedule: Crops, step: int) -> tuple[int, int]:
    """How many crops `schedule` has for `step`, and their side."""
    return next((count, side) for until, count, side in schedule if step < until)


def draw_crops(count: int, side: int, chance: str) -> Tensor:
    """`count` square crops of as many fresh pictures, (count, 3, side, side); `chance` decides which."""
    rng = Random(chance)
    sizes = [size for size in PICTURE_SIZES if min(size) >= side]
    crops: list[Image.Image] = []
    for _ in range(count):
        width, height = rng.choice(sizes)
        picture = draw(sample_scene(rng), width, height, seed=rng.getrandbits(32))
        x, y = rng.randint(0, width - side), rng.randint(0, height - side)
        crops.append(picture.crop((x, y, x + side, y + side)))
    return to_tensor(crops)


def autoencoder_loss(
    vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Absolute error of values and of edges, plus a little KL (arXiv 2112.10752, G; without its critic)."""
    with mixed_precision(pictures.device):
        posterior = vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(pictures.device)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    loss, psnr = reconstruction_loss(decoded.float(), pictures)
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1.0 - posterior.logvar.float()).mean()
    alike = channel_likeness(posterior.mean.float())
    return loss + KL_WEIGHT * kl + LIKENESS_WEIGHT * alike, {
        "psnr": psnr,
        "kl": kl.item(),
        "alike": alike.item(),
    }


def channel_likeness(latents: Tensor) -> Tensor:
    """Mean squared correlation between different latent channels, (B, C, h, w) → 0..1.

    Left alone, channels pair up and a third colour axis hides in their small differences.
    """
    flat = latents.transpose(0, 1).flatten(1)
    unit = functional.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)
    correlation = unit @ unit.T
    channels = len(correlation)
    return (correlation.square().sum() - channels) / (channels * (channels - 1))


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> tuple[Tensor, float]:
    """Errors of values, of edges and of inks, and the PSNR in dB, of (B, 3, H, W) in -1..1."""
    error = decoded - pictures
    value = error.abs().mean() + error.square().mean()
    edges = sum((error.diff(dim=d).abs().mean() for d in (2, 3)), torch.zeros((), device=error.device))
    inks = functional.avg_pool2d(error, 8).abs().mean()
    psnr = -10.0 * torch.log10(error.detach().square().mean() / 4.0 + 1e-12)
    return value + EDGE_WEIGHT * edges + INK_WEIGHT * inks, psnr.item()


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, seed: int) -> float:
    """1 / standard deviation of the latents over drawn pictures: the config's `scaling_factor`."""
    rng = Random(f"{seed} scale")
    pictures = to_tensor([draw(sample_scene(rng), 256, 256, seed=i) for i in range(64)])
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in pictures.split(8)])
    return round(float(1.0 / latents.float().std()), 5)
