"""Stage four: the decoder learns to make clean outlines of what the transformer leaves.

A decoder that has only seen the encoder's latents paints a rough outline as it is. Here pictures are
noised, the transformer takes the noise out again, and the decoder sees what it made beside the picture it
was made from (arXiv 2507.15856 trains on latents with plain noise to the same end). The encoder stays, so
latents keep their meaning and the transformer need not learn again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pixart_cli.diffusion.objective import add_noise, alphas_cumprod
from pixart_cli.features.train.autoencoder import Crops, count_and_side, reconstruction_loss, to_tensor
from pixart_cli.features.train.caption import write_caption
from pixart_cli.features.train.denoiser import Bucket, picture_of, predict, training_scene
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.store import stored
from pixart_cli.features.train.team import Team

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

Denoise = Callable[[Tensor, Sequence[str], Tensor], Tensor]
# (until this step, crops a step, side in latents), larger ones last: GroupNorm and the attention in the
# middle see the whole picture when they draw.
DECODER_CROPS: Crops = ((2600, 12, 16), (3000, 4, 28))
CLEAN_SHARE = 0.3
MOST_NOISE = 400  # σ/α = 2: beyond it the transformer draws another picture
DENOISING_STEPS = 4
STRAY_NOISE = 0.12
_TRIES = 2


@dataclass(frozen=True)
class Crop:
    """Parts of pictures, (B, 3, 8s, 8s), and what the transformer left of their latents, (B, 4, s, s)."""

    pixels: Tensor
    latents: Tensor


@torch.no_grad()
def take_noise_out(
    transformer: PixArtTransformer2DModel, latents: Tensor, states: Tensor, mask: Tensor, timesteps: Tensor
) -> Tensor:
    """Noised `latents` (B, 4, h, w) at `timesteps` (B,), after DENOISING_STEPS steps down to none.

    Deterministic steps without guidance (DDIM, arXiv 2010.02502, eq. 12 with σ = 0).
    """
    schedule, picture = alphas_cumprod().to(latents.device), latents
    for step in range(DENOISING_STEPS):
        now = (timesteps * (DENOISING_STEPS - step)) // DENOISING_STEPS
        a, s = _roots(schedule, now)
        with mixed_precision(latents.device):
            v = predict(transformer, latents, states, mask, now)
        picture, noise = a * latents - s * v, s * latents + a * v
        if step == DENOISING_STEPS - 1:
            break
        a, s = _roots(schedule, (timesteps * (DENOISING_STEPS - step - 1)) // DENOISING_STEPS)
        latents = a * picture + s * noise
    return picture


def _roots(schedule: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = schedule[timesteps].view(-1, 1, 1, 1)
    return alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()


def rough_bucket(bucket: Bucket, count: int, seed: int, path: Path, denoise: Denoise) -> Bucket:
    """The first `count` pictures of `bucket` as the transformer leaves them, from `path` or made and saved.

    CLEAN_SHARE of them are as the encoder gave them; the others were noised up to MOST_NOISE and denoised.
    """
    schedule, end = alphas_cumprod(), min(MOST_NOISE, bucket.timesteps_end)

    def make(rows: range) -> np.ndarray:
        rng = Random(f"{seed} rough {bucket.indices[rows.start]} {bucket.width}x{bucket.height}")
        latents = torch.from_numpy(np.array(bucket.latents[rows.start : rows.stop])).float()
        texts = [write_caption(training_scene(bucket.indices[row], seed), rng).text for row in rows]
        timesteps = torch.tensor([rng.randrange(DENOISING_STEPS, end) for _ in rows])
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(rng.getrandbits(62)))
        rough = denoise(add_noise(latents, noise, schedule[timesteps]), texts, timesteps).cpu()
        clean = torch.tensor([rng.random() < CLEAN_SHARE for _ in rows]).view(-1, 1, 1, 1)
        return np.asarray(torch.where(clean, latents, rough).half().numpy())

    shape = (count, *bucket.latents.shape[1:])
    return Bucket(
        bucket.width, bucket.height, bucket.indices[:count], stored(path, shape, make), bucket.close
    )


def crops_of_step(buckets: Sequence[Bucket], step: int, seed: int, team: Team) -> Crop:
    """This process's crops of one step, of one bucket; a function of the step alone."""
    count, side = count_and_side(DECODER_CROPS, step)
    rng = Random(team.chance(f"{seed} decoder {step}"))
    bucket = rng.choices(buckets, weights=[len(b.indices) for b in buckets])[0]
    side = min(side, *bucket.latents.shape[-2:])
    pixels, latents = zip(*(_crop(bucket, side, seed, rng) for _ in range(team.share(count))), strict=True)
    return Crop(torch.cat(pixels), torch.stack(latents))


def _crop(bucket: Bucket, side: int, seed: int, rng: Random) -> tuple[Tensor, Tensor]:
    """One crop of one picture: the liveliest of a few places, since most of a poster is plain."""
    row = rng.randrange(len(bucket.indices))
    rough = torch.from_numpy(np.array(bucket.latents[row])).float()
    height, width = rough.shape[-2:]
    places = [(rng.randint(0, height - side), rng.randint(0, width - side)) for _ in range(_TRIES)]
    y, x = max(
        places, key=lambda p: float(rough[:, p[0] : p[0] + side, p[1] : p[1] + side].var(dim=(1, 2)).sum())
    )
    drawn = picture_of(bucket, row, seed).crop((8 * x, 8 * y, 8 * (x + side), 8 * (y + side)))
    return to_tensor([drawn]), rough[:, y : y + side, x : x + side]


def decoder_loss(
    vae: AutoencoderKL, scale: float, crop: Crop, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The decoder's error on `crop`, with a little more noise on some of the latents, from none upwards."""
    device = next(vae.decoder.parameters()).device
    stray = STRAY_NOISE * torch.rand(len(crop.latents), 1, 1, 1, generator=generator)
    latents = crop.latents + stray * torch.randn(crop.latents.shape, generator=generator)
    with mixed_precision(device):
        decoded = vae.decode((latents / scale).to(device, memory_format=torch.channels_last)).sample
    loss, psnr = reconstruction_loss(decoded.float(), crop.pixels.to(device))
    return loss, {"psnr": psnr}
