"""Stage three: the transformer learns to draw, first small pictures, then at full size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from torch import Tensor, nn

from pixart_cli.diffusion.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    alphas_cumprod,
    middle_timesteps,
    sample_timesteps,
    velocity,
    velocity_weight,
)
from pixart_cli.features.train.language import END, PAD, mask_of
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.processor_speed import hasten
from pixart_cli.features.train.store import stored
from pixart_cli.features.train.told import LATENT_CHANNELS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from pixart_cli.features.train.gallery import Gallery

HEADS, HEAD_DIM, LAYERS = 8, 32, 6
CAPTION_DROPOUT = 0.1
CLOSE_TIMESTEPS = 300  # σ/α = 1.2: more than any refining pass starts from
CAPTIONS_GAIN = 2.0
CROSS_GAIN = 0.1
_AT_ONCE = 64  # pictures encoded together


def build_transformer(caption_width: int, device: torch.device) -> PixArtTransformer2DModel:
    """The network, untrained: 6 blocks of 8 heads x 32, 7.0 M parameters, positions of a 256-pixel model."""
    width = HEADS * HEAD_DIM
    model = PixArtTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=LAYERS,
        cross_attention_dim=width,
        caption_channels=caption_width,
        sample_size=32,
        interpolation_scale=0.5,
        use_additional_conditions=False,
    )
    start_denoiser(model)
    if device.type == "cpu":
        hasten(model)
    return model.to(device)


@torch.no_grad()
def start_denoiser(model: PixArtTransformer2DModel) -> None:
    """Begin as the authors do: even linear layers, a last layer of zero (PixArt-sigma `initialize_weights`).

    The cross-attention's way out, which is zero there, starts faint here, and captions come in at about unit
    size: started at zero with faint captions, half of the cross-attentions of so small a network stay idle.
    """
    for block in model.transformer_blocks:
        for layer in (m for m in block.modules() if isinstance(m, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        block.attn2.to_out[0].weight.mul_(CROSS_GAIN)
    for layer in (model.caption_projection.linear_1, model.caption_projection.linear_2):
        nn.init.xavier_uniform_(layer.weight)
    model.caption_projection.linear_2.weight.mul_(CAPTIONS_GAIN)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)


def block_matrices(model: PixArtTransformer2DModel) -> list[Tensor]:
    """What the blocks multiply tokens by: the weights of their linear layers."""
    return [m.weight for m in model.transformer_blocks.modules() if isinstance(m, nn.Linear)]


@dataclass(frozen=True)
class Bucket:
    """A gallery, encoded: `latents` (N, C, H/8, W/8) are the posterior's means, scaled, on its device.

    Close-ups are learned at low noise only, for drawing detail into enlarged pictures: what a picture is
    composed of is no business of its parts.
    """

    gallery: Gallery
    latents: Tensor

    @property
    def timesteps_end(self) -> int:
        """The noise levels to learn are below this timestep."""
        return CLOSE_TIMESTEPS if self.gallery.part.close else NUM_TRAIN_TIMESTEPS


@dataclass(frozen=True)
class Batch:
    """Latents (B, C, h, w), captions (B, T) as token ids with their mask (some dropped to "" alone), the
    landmarks of the pictures, and the end of the timesteps to learn.
    """

    latents: Tensor
    ids: Tensor
    mask: Tensor
    said: Tensor
    counts: Tensor
    timesteps_end: int


def encode_gallery(vae: AutoencoderKL, scale: float, gallery: Gallery, path: Path) -> Bucket:
    """The gallery's latents from `path`, or encoded and saved there; continues a half-written one."""
    height, width = gallery.pixels.shape[1:3]
    device = gallery.pixels.device

    def make(rows: range) -> np.ndarray:
        return _encode(vae, gallery.whole(torch.arange(rows.start, rows.stop, device=device)), scale)

    shape = (len(gallery.pixels), LATENT_CHANNELS, height // 8, width // 8)
    whole = torch.from_numpy(np.array(stored(path, shape, make, at_once=_AT_ONCE)))
    return Bucket(gallery, whole.to(device))


@torch.no_grad()
def _encode(vae: AutoencoderKL, pictures: Tensor, scale: float) -> np.ndarray:
    pictures = pictures.to(next(vae.parameters()).device)
    with mixed_precision(pictures.device):
        posterior = vae.encode(pictures).latent_dist
    return np.asarray((posterior.mean.float() * scale).cpu().half().numpy())


def batch_of_step(bucket: Bucket, count: int, generator: torch.Generator) -> Batch:
    """`count` pictures of `bucket`, as `generator` picks them."""
    device, gallery = bucket.latents.device, bucket.gallery

    def pick(end: int) -> Tensor:
        return torch.randint(end, (count,), generator=generator, device=device)

    rows = pick(len(bucket.latents))
    ids = gallery.ids[rows, pick(gallery.ids.shape[1])].long()
    dropped = torch.rand(count, 1, generator=generator, device=device) < CAPTION_DROPOUT
    ids = torch.where(dropped, no_caption(ids), ids)
    return Batch(
        latents=bucket.latents[rows].float(),
        ids=ids,
        mask=mask_of(ids),
        said=gallery.said[rows],
        counts=gallery.counts[rows],
        timesteps_end=bucket.timesteps_end,
    )


def no_caption(ids: Tensor) -> Tensor:
    """The ids of "" in the shape of `ids` (B, T)."""
    empty = torch.full_like(ids, PAD)
    empty[:, 0].fill_(END)
    return empty


def predict(
    transformer: PixArtTransformer2DModel, noised: Tensor, states: Tensor, mask: Tensor, timesteps: Tensor
) -> Tensor:
    """The velocity (B, C, h, w) that `transformer` sees in `noised`, in float32."""
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
        self.weight: Tensor
        schedule = alphas_cumprod()
        self.register_buffer("schedule", schedule)
        self.register_buffer("weight", velocity_weight(schedule, torch.arange(NUM_TRAIN_TIMESTEPS)))

    def forward(
        self,
        transformer: PixArtTransformer2DModel,
        latents: Tensor,
        states: Tensor,
        mask: Tensor,
        generator: torch.Generator,
        timesteps_end: int = NUM_TRAIN_TIMESTEPS,
    ) -> Tensor:
        """Latents (B, C, h, w); text states (B, T, D) with mask (B, T). Gives a scalar."""
        whole = timesteps_end == NUM_TRAIN_TIMESTEPS
        timesteps = (
            middle_timesteps(len(latents), generator)
            if whole
            else sample_timesteps(len(latents), generator, end=timesteps_end)
        )
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        alpha_bar = self.schedule[timesteps]
        predicted = predict(transformer, add_noise(latents, noise, alpha_bar), states, mask, timesteps)
        wanted = velocity(latents, noise, alpha_bar)
        error = (predicted - wanted).square().mean(dim=(1, 2, 3))
        weight = self.weight[timesteps]
        total: Tensor = (weight * error).sum() / weight.sum()
        return total
