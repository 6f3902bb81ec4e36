"""Request → latents: noise from the seed, then classifier-free guidance step by step.

Shapes: B = 2 with guidance (negative first), else 1; latents (1, 4, H/8, W/8) in float32 throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pixart_cli.diffusion.text import pad

if TYPE_CHECKING:
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

StepCallback = Callable[[int, int], None]
_VAE_SCALE = 8


def draw_noise(generator: torch.Generator, channels: int, width: int, height: int) -> torch.Tensor:
    """Unit noise (1, channels, height/8, width/8), float32 on the CPU: one seed, one picture everywhere."""
    shape = (1, channels, height // _VAE_SCALE, width // _VAE_SCALE)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def sample(
    transformer: PixArtTransformer2DModel,
    scheduler: Any,
    *,
    embeds: tuple[torch.Tensor, ...],
    guidance_scale: float,
    latents: torch.Tensor,
    generator: torch.Generator | None,
    device: str,
    on_step: StepCallback,
) -> torch.Tensor:
    """Denoise `latents` (unit noise) along the scheduler's timesteps; float32 on `device`.

    Args:
        embeds: `(prompt,)`, or `(negative, prompt)` for guidance, each (L, C).
        generator: for rules whose steps draw noise, else None.
        on_step: told (done, total) after every step.

    Guidance is equation 6 of Ho & Salimans (2022), arXiv 2207.12598, with w = `guidance_scale`.
    """
    model_dtype = transformer.dtype
    text, mask = pad(embeds)
    text, mask = text.to(device, model_dtype), mask.to(device)
    conditions = micro_conditions(transformer, latents, len(embeds), device, model_dtype)
    latents = latents.to(device) * scheduler.init_noise_sigma
    extra = {} if generator is None else {"generator": generator}
    total = len(scheduler.timesteps)
    for done, timestep in enumerate(scheduler.timesteps, start=1):
        inputs = scheduler.scale_model_input(latents.expand(len(embeds), -1, -1, -1), timestep)
        output = transformer(
            inputs.to(model_dtype),
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            timestep=timestep[None].to(device).expand(len(embeds)),
            added_cond_kwargs=conditions,
            return_dict=False,
        )[0]
        noise = guided(output[:, : latents.shape[1]].float(), guidance_scale)
        latents = scheduler.step(noise, timestep, latents, **extra, return_dict=False)[0]
        on_step(done, total)
    return latents


def guided(noise_BCHW: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """One prediction out of (negative, prompt); a single one is returned as it is."""
    if len(noise_BCHW) == 1:
        return noise_BCHW
    negative, prompt = noise_BCHW.chunk(2)
    return negative + guidance_scale * (prompt - negative)


def micro_conditions(
    transformer: PixArtTransformer2DModel, latents: torch.Tensor, batch: int, device: str, dtype: torch.dtype
) -> dict[str, torch.Tensor | None]:
    """The size (height, width) in pixels and the ratio that α 1024 is told; nothing for the others."""
    if not transformer.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    height, width = (side * _VAE_SCALE for side in latents.shape[-2:])
    return {
        "resolution": torch.tensor([[height, width]], dtype=dtype, device=device).repeat(batch, 1),
        "aspect_ratio": torch.tensor([[height / width]], dtype=dtype, device=device).repeat(batch, 1),
    }
