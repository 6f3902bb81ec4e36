"""Request → latents: noise from the seed, then classifier-free guidance step by step.

Latents are (1, 4, H/8, W/8), float32 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from pixart_cli.core.guidance import guided_steps
from pixart_cli.diffusion.first_block_cache import FirstBlockCache
from pixart_cli.diffusion.forward import Forward

if TYPE_CHECKING:
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    from pixart_cli.diffusion.schedulers import Tail

StepCallback = Callable[[int, int], None]


class Predict(Protocol):
    """What a transformer says of noisy latents: (P, C, h, w) and a timestep (1,) → (branches·P, C, h, w)."""

    def __call__(
        self, latents_PCHW: torch.Tensor, timestep: torch.Tensor, /, *, branches: int
    ) -> torch.Tensor:
        """One row a guidance branch and picture, negative ones first."""


_VAE_SCALE = 8


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How strictly the prompt is followed: two branches are predicted, negative first, and joined by `scale`.

    Only in the share `until` of the steps, from the first; after it the prompt's branch is computed alone, at
    half the cost (arXiv 2404.07724: at low noise guidance does harm). How many `branches` there are to
    predict, and how many steps of the walk were `skipped` before the first, the samplers say.
    """

    scale: float
    until: float = 1.0
    branches: int = 1
    skipped: int = 0

    def branches_at(self, step: int, total: int) -> int:
        """How many branches `step` of `total`, from 1, computes."""
        return self.branches if step <= guided_steps(self.until, total, skipped=self.skipped) else 1


def draw_noise(generator: torch.Generator, channels: int, width: int, height: int) -> torch.Tensor:
    """Unit noise (1, channels, height/8, width/8), float32 on the CPU: one seed, one picture everywhere."""
    shape = (1, channels, height // _VAE_SCALE, width // _VAE_SCALE)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def sample(
    transformer: PixArtTransformer2DModel,
    scheduler: Any,
    *,
    embeds: tuple[torch.Tensor, ...],
    guidance: Guidance,
    latents: torch.Tensor,
    generator: torch.Generator | None,
    on_step: StepCallback,
    first_block: float = 0.0,
) -> torch.Tensor:
    """Denoise `latents` (unit noise) along the scheduler's timesteps; float32 on the device they are on.

    Args:
        embeds: `(prompt,)`, or `(negative, prompt)` for guidance, each (L, C), real tokens only.
        guidance: its scale, and until when.
        generator: for rules whose steps draw noise, else None.
        on_step: told (done, total) after every step.
        first_block: the threshold of `FirstBlockCache`, which changes the picture; 0 is off. A skipped step
            costs one block of all.
    """
    return denoise(
        _forward(transformer, embeds, latents, first_block), scheduler, scheduler.timesteps,
        latents=latents * scheduler.init_noise_sigma, dtype=transformer.dtype,
        guidance=replace(guidance, branches=len(embeds)),
        generator=generator, on_step=on_step,
    )  # fmt: skip


def sample_from(
    transformer: PixArtTransformer2DModel,
    tail: Tail,
    *,
    embeds: tuple[torch.Tensor, ...],
    guidance: Guidance,
    source: torch.Tensor,
    generator: torch.Generator,
    on_step: StepCallback,
) -> torch.Tensor:
    """Noise `source` as much as the first timestep of `tail` says and denoise it to the end; float32.

    SDEdit (Meng et al. 2021, arXiv 2108.01073), as diffusers' image-to-image pipelines do it: the noise is
    what the same seed draws for a picture without a source.

    Args:
        embeds: as in `sample`.
        guidance: the same; `until` is a share of the steps of the whole schedule.
        source: the encoded picture, scaled, (1, C, h, w) on the device that computes.
        generator: draws the noise, on the CPU, and then that of the steps.
        on_step: as in `sample`.
    """
    noise = torch.randn(source.shape, generator=generator, dtype=torch.float32).to(source.device)
    return denoise(
        _forward(transformer, embeds, source), tail.scheduler, tail.timesteps,
        latents=tail.scheduler.add_noise(source, noise, tail.timesteps[:1]), dtype=transformer.dtype,
        guidance=replace(guidance, branches=len(embeds), skipped=tail.skipped),
        generator=generator if tail.stochastic else None, on_step=on_step,
    )  # fmt: skip


def sample_together(
    transformer: PixArtTransformer2DModel,
    scheduler: Any,
    *,
    embeds: Sequence[tuple[torch.Tensor, ...]],
    guidance: Guidance,
    latents: torch.Tensor,
    generators: list[torch.Generator] | None,
    on_step: StepCallback,
) -> torch.Tensor:
    """Denoise several pictures of one size in one forward a step: latents (P, 4, H/8, W/8).

    What :func:`sample` gives for each alone, up to the order of rounding.

    Args:
        embeds: as in `sample`, a picture.
        generators: a picture's own each, for rules whose steps draw noise.
    """
    device, dtype = latents.device, transformer.dtype
    rows = [each.to(device, dtype) for branch in zip(*embeds, strict=True) for each in branch]
    forward = Forward(transformer, rows, micro_conditions(transformer, latents, dtype), pictures=len(embeds))
    return denoise(
        forward, scheduler, scheduler.timesteps,
        latents=latents * scheduler.init_noise_sigma, dtype=dtype,
        guidance=replace(guidance, branches=len(embeds[0])),
        generator=generators, on_step=on_step,
    )  # fmt: skip


def _forward(
    transformer: PixArtTransformer2DModel,
    embeds: tuple[torch.Tensor, ...],
    latents: torch.Tensor,
    first_block: float = 0.0,
) -> Forward:
    device, dtype = latents.device, transformer.dtype
    return Forward(
        transformer,
        [each.to(device, dtype) for each in embeds],
        micro_conditions(transformer, latents, dtype),
        cache=FirstBlockCache(first_block) if first_block > 0 else None,
    )


def denoise(
    predict: Predict,
    scheduler: Any,
    timesteps: torch.Tensor,
    *,
    latents: torch.Tensor,
    dtype: torch.dtype,
    guidance: Guidance,
    generator: torch.Generator | list[torch.Generator] | None,
    on_step: StepCallback,
) -> torch.Tensor:
    """Walk `latents`, as noisy as the first of `timesteps` says, along them to the end; float32.

    `predict` is asked in `dtype`. Guidance is equation 6 of Ho & Salimans (2022), arXiv 2207.12598.
    """
    total = len(timesteps)
    extra = {} if generator is None else {"generator": generator}
    for done, timestep in enumerate(timesteps, start=1):
        branches = guidance.branches_at(done, total)
        inputs = scheduler.scale_model_input(latents, timestep).to(dtype)
        output = predict(inputs, timestep[None].to(latents.device), branches=branches)
        prediction = guided(output[:, : latents.shape[1]].float(), guidance.scale, branches)
        latents = scheduler.step(prediction, timestep, latents, **extra, return_dict=False)[0]
        on_step(done, total)
    return latents


def guided(noise_BCHW: torch.Tensor, guidance_scale: float, branches: int | None = None) -> torch.Tensor:
    """One prediction a picture out of all negative ones, then all of prompts; of one branch as they are.

    `branches` are as many as there are rows unless given: then it is one picture.
    """
    if (len(noise_BCHW) if branches is None else branches) == 1:
        return noise_BCHW
    negative, prompt = noise_BCHW.chunk(2)
    return negative + guidance_scale * (prompt - negative)


def micro_conditions(
    transformer: PixArtTransformer2DModel, latents: torch.Tensor, dtype: torch.dtype
) -> dict[str, torch.Tensor | None]:
    """What α 1024 is told: height and width in pixels, (1, 2), and their ratio, (1, 1). Else nothing."""
    if not transformer.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    height, width = (side * _VAE_SCALE for side in latents.shape[-2:])
    return {
        "resolution": torch.tensor([[height, width]], dtype=dtype, device=latents.device),
        "aspect_ratio": torch.tensor([[height / width]], dtype=dtype, device=latents.device),
    }
