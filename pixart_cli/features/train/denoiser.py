"""Stage three: the transformer learns to draw, first small pictures, then at full size.

Latents are drawn and encoded once per size; captions are written anew each time a picture is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor, nn

from pixart_cli.diffusion.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    alphas_cumprod,
    sample_timesteps,
    velocity,
    velocity_weight,
)
from pixart_cli.features.train.autoencoder import to_tensor
from pixart_cli.features.train.caption import write_caption
from pixart_cli.features.train.close_ups import close_up
from pixart_cli.features.train.draw import draw
from pixart_cli.features.train.landmarks import Landmarks, landmarks
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.scene import Scene, sample_scene
from pixart_cli.features.train.store import stored

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from PIL import Image

HEADS, HEAD_DIM, LAYERS = 8, 32, 6
CAPTION_DROPOUT = 0.1
CLOSE_TIMESTEPS = 300  # σ/α = 1.2: more than any refining pass starts from


def build_transformer(caption_width: int) -> PixArtTransformer2DModel:
    """The network, untrained: 6 blocks of 8 heads x 32, 7.0 M parameters, positions of a 256-pixel model.

    diffusers' constructor leaves the cross-attention output and the last layer random; PixArt starts
    them at zero (PixArt-sigma `PixArtMS.initialize_weights`), so that is done here.
    """
    width = HEADS * HEAD_DIM
    model = PixArtTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=4,
        out_channels=4,
        num_layers=LAYERS,
        cross_attention_dim=width,
        caption_channels=caption_width,
        sample_size=32,
        interpolation_scale=0.5,
        use_additional_conditions=False,
    )
    for block in model.transformer_blocks:
        nn.init.zeros_(block.attn2.to_out[0].weight)
        nn.init.zeros_(block.attn2.to_out[0].bias)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    # Plain products: a step takes 0.73 times as long as with PyTorch's fused attention on a CPU, whose
    # backward pass is slow. What is saved does not name a processor.
    model.set_attn_processor(AttnProcessor())
    return model


@lru_cache(maxsize=200_000)
def training_scene(index: int, seed: int) -> Scene:
    """The scene of training picture `index`."""
    return sample_scene(Random(f"{seed} scene {index}"))


@dataclass(frozen=True)
class Bucket:
    """Encoded pictures of one size: `latents` (N, 4, H/8, W/8), the posterior's means, scaled.

    `close` ones are parts of larger pictures. They are learned at low noise only, for drawing detail into
    enlarged pictures: what a picture is composed of is no business of its parts.
    """

    width: int
    height: int
    indices: range
    latents: np.ndarray
    close: bool = False

    @property
    def timesteps_end(self) -> int:
        """The noise levels to learn are below this timestep."""
        return CLOSE_TIMESTEPS if self.close else NUM_TRAIN_TIMESTEPS

    def marks(self, row: int, seed: int) -> Landmarks:
        """What stands where in the picture of `row`."""
        index = self.indices[row]
        return landmarks(training_scene(index, seed), self.width, self.height, index)


@dataclass(frozen=True)
class Batch:
    """Latents (B, 4, h, w), their captions (some dropped to ""), the generator for the step's noise.

    `marks` is empty for close-ups.
    """

    latents: Tensor
    texts: list[str]
    generator: torch.Generator
    timesteps_end: int = NUM_TRAIN_TIMESTEPS
    marks: Sequence[Landmarks] = ()


def encode_bucket(
    vae: AutoencoderKL,
    scale: float,
    size: tuple[int, int],
    indices: range,
    seed: int,
    path: Path,
    *,
    close: bool = False,
) -> Bucket:
    """The bucket from `path`, or drawn, encoded and saved there; continues a half-written one."""
    width, height = size
    bucket = Bucket(width, height, indices, np.empty(0), close)

    def make(rows: range) -> np.ndarray:
        return _encode(vae, to_tensor([picture_of(bucket, row, seed) for row in rows]), scale)

    shape = (len(indices), 4, height // 8, width // 8)
    return replace(bucket, latents=stored(path, shape, make))


def picture_of(bucket: Bucket, row: int, seed: int) -> Image.Image:
    """The picture behind `row` of `bucket`, drawn again."""
    index = bucket.indices[row]
    picture = close_up if bucket.close else draw
    return picture(training_scene(index, seed), bucket.width, bucket.height, seed=index)


@torch.no_grad()
def _encode(vae: AutoencoderKL, pictures: Tensor, scale: float) -> np.ndarray:
    pictures = pictures.to(next(vae.parameters()).device)
    with mixed_precision(pictures.device):
        posterior = vae.encode(pictures).latent_dist
    return np.asarray((posterior.mean.float() * scale).cpu().half().numpy())


def batch_of_step(buckets: Sequence[Bucket], *, count: int, chance: str, seed: int) -> Batch:
    """`count` pictures of one bucket; a function of `chance` alone."""
    rng = Random(chance)
    generator = torch.Generator().manual_seed(rng.getrandbits(62))
    bucket = rng.choices(buckets, weights=[len(b.indices) for b in buckets])[0]
    rows = [rng.randrange(len(bucket.indices)) for _ in range(count)]
    latents = torch.from_numpy(np.stack([bucket.latents[r] for r in rows])).float()
    scenes = [training_scene(bucket.indices[r], seed) for r in rows]
    texts = ["" if rng.random() < CAPTION_DROPOUT else write_caption(scene, rng).text for scene in scenes]
    marks = () if bucket.close else [bucket.marks(r, seed) for r in rows]
    return Batch(latents, texts, generator, bucket.timesteps_end, marks)


def predict(
    transformer: PixArtTransformer2DModel, noised: Tensor, states: Tensor, mask: Tensor, timesteps: Tensor
) -> Tensor:
    """The velocity (B, 4, h, w) that `transformer` sees in `noised`, in float32."""
    velocities: Tensor = transformer(
        noised,
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        timestep=timesteps,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ).sample.float()
    return velocities


class DenoisingLoss(nn.Module):
    """Weighted velocity error of one batch (arXiv 2202.00512)."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Tensor
        self.register_buffer("schedule", alphas_cumprod())

    def forward(
        self,
        transformer: PixArtTransformer2DModel,
        latents: Tensor,
        states: Tensor,
        mask: Tensor,
        generator: torch.Generator,
        timesteps_end: int = NUM_TRAIN_TIMESTEPS,
    ) -> Tensor:
        """Latents (B, 4, h, w); text states (B, T, D) with mask (B, T). Gives a scalar."""
        timesteps = sample_timesteps(len(latents), generator, end=timesteps_end).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        alpha_bar = self.schedule[timesteps]
        predicted = predict(transformer, add_noise(latents, noise, alpha_bar), states, mask, timesteps)
        wanted = velocity(latents, noise, alpha_bar)
        error = (predicted - wanted).square().mean(dim=(1, 2, 3))
        weight = velocity_weight(alpha_bar, timesteps)
        total: Tensor = (weight * error).sum() / weight.sum()
        return total
