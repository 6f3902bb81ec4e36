"""Stage four: the decoder learns to make clean outlines of what the transformer leaves.

A decoder that has only seen the encoder's latents paints a rough outline as it is. Here pictures are
noised, the transformer takes the noise out again, and the decoder sees what it made beside the picture it
was made from (arXiv 2507.15856 trains on latents with plain noise to the same end). The encoder stays, so
latents keep their meaning and the transformer need not learn again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pixart_cli.diffusion.objective import add_noise, alphas_cumprod
from pixart_cli.features.train.autoencoder import Crops, reconstruction_loss
from pixart_cli.features.train.denoiser import Bucket, predict
from pixart_cli.features.train.precision import mixed_precision

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]  # noised latents, caption ids, timesteps
# As CROPS, sides in latents: larger ones last, since GroupNorm sees the whole picture when it draws.
DECODER_CROPS: Crops = ((0.8, 12, 16), (1.0, 4, 28))
CLEAN_SHARE = 0.3
MOST_NOISE = 400  # σ/α = 2: beyond it the transformer draws another picture
DENOISING_STEPS = 4
STRAY_NOISE = 0.12
_TRIES = 2
_AT_ONCE = 64


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


def rough_bucket(bucket: Bucket, count: int, seed: int, denoise: Denoise) -> Bucket:
    """The first `count` pictures of `bucket` as the transformer leaves them.

    CLEAN_SHARE of them are as the encoder gave them; the others were noised up to MOST_NOISE and denoised.
    """
    device, end = bucket.latents.device, min(MOST_NOISE, bucket.timesteps_end)
    schedule = alphas_cumprod().to(device)
    part = bucket.gallery.part
    chance = Random(f"{seed} rough {part.indices[0]} {part.width}x{part.height}")
    generator = torch.Generator(device).manual_seed(chance.getrandbits(62))
    rough = []
    for start in range(0, count, _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, count))
        latents = bucket.latents[rows].float()
        ids = bucket.gallery.ids[rows, 0].long()
        timesteps = torch.randint(DENOISING_STEPS, end, (len(latents),), generator=generator, device=device)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        left = denoise(add_noise(latents, noise, schedule[timesteps]), ids, timesteps)
        clean = torch.rand(len(latents), 1, 1, 1, generator=generator, device=device) < CLEAN_SHARE
        rough.append(torch.where(clean, latents, left).half())
    return Bucket(bucket.gallery, torch.cat(rough))


def crops_of_step(bucket: Bucket, count: int, side: int, generator: torch.Generator) -> Crop:
    """`count` crops of the pictures of `bucket`, `side` latents each way or as many as there are.

    Of a few places each the liveliest, since most of a poster is plain.
    """
    device, (pictures, _, height, width) = bucket.latents.device, bucket.latents.shape
    side = min(side, height, width)

    def pick(end: int, *shape: int) -> Tensor:
        return torch.randint(end, shape, generator=generator, device=device)

    rows = pick(pictures, count, 1)
    tops, lefts = (pick(end - side + 1, count, _TRIES) for end in (height, width))
    span = torch.arange(side, device=device)
    down, across = tops[..., None, None] + span[:, None], lefts[..., None, None] + span
    tried = bucket.latents[rows[..., None, None], :, down, across].float()  # (B, TRIES, s, s, C)
    best = tried.var(dim=(2, 3)).sum(dim=-1).argmax(dim=1, keepdim=True)
    row, top, left = rows[:, 0], tops.gather(1, best)[:, 0], lefts.gather(1, best)[:, 0]
    latents = tried[torch.arange(count, device=device), best[:, 0]].permute(0, 3, 1, 2)
    pixels = bucket.gallery.crops(row, 8 * top, 8 * left, (8 * side, 8 * side))
    return Crop(pixels, latents)


def decoder_loss(
    vae: AutoencoderKL, scale: float, crop: Crop, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """The decoder's error on `crop`, with a little more noise on some of the latents, from none upwards."""
    device, shape = generator.device, crop.latents.shape
    stray = STRAY_NOISE * torch.rand(shape[0], 1, 1, 1, generator=generator, device=device)
    latents = crop.latents + stray * torch.randn(shape, generator=generator, device=device)
    with mixed_precision(device):
        decoded = vae.decode((latents / scale).contiguous(memory_format=torch.channels_last)).sample
    loss, psnr = reconstruction_loss(decoded.float(), crop.pixels)
    return loss, {"psnr": psnr}
