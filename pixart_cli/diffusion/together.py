"""Several pictures in one forward: which may be, and their latents.

On an accelerator a forward of one small picture leaves most of it idle. Their pixels are those of pictures
drawn alone up to the order of rounding, which a sampler carries along: docs/decisions/0019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.cascade import Base, Report, generator_of, ready, stages
from pixart_cli.diffusion.decode import is_picture
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.pipeline import Components
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample_together

if TYPE_CHECKING:
    Embeds = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """Requests whose bases are computed together; `first` is the place of the first in the call."""

    first: int
    requests: tuple[GenerationRequest, ...]


def batches(
    requests: Sequence[GenerationRequest], spec: ModelSpec, most: Callable[[], int]
) -> Iterator[Batch]:
    """`requests` in order, those that follow each other and are alike together, `most` at once."""
    held: list[GenerationRequest] = []
    done = 0
    for request in requests:
        if held and (len(held) >= most() or _kind(held[0], spec) != _kind(request, spec)):
            yield Batch(done, tuple(held))
            done, held = done + len(held), []
        held.append(request)
        if request.init_image:
            yield Batch(done, tuple(held))
            done, held = done + len(held), []
    if held:
        yield Batch(done, tuple(held))


def _kind(request: GenerationRequest, spec: ModelSpec) -> tuple[object, ...]:
    """What pictures of one forward have to have in common; one with an init image is alone."""
    _, size, _ = stages(request, spec)
    return (
        *(size, request.num_inference_steps, request.scheduler),
        *(
            request.guidance_scale,
            request.guidance_until,
            request.kv_compression,
            request.lora,
            request.init_image,
        ),
    )


def draw_bases(
    parts: Components,
    plan: MemoryPlan,
    spec: ModelSpec,
    requests: Sequence[GenerationRequest],
    embeds: Sequence[Embeds],
    report: Report,
) -> list[Base | None]:
    """The base of each of `requests`, which are alike; None for one that has to be drawn by itself.

    Half precision that overflows in one picture, or a network that draws nothing, is no matter of the others.
    """
    first = requests[0]
    _, size, _ = stages(first, spec)
    generators = [generator_of(request.seed, 0) for request in requests]
    scheduler = schedulers.build(
        first.scheduler, parts.scheduler_config, first.num_inference_steps,
        device=plan.device, timesteps=spec.timesteps,
    )  # fmt: skip
    with ready(parts, plan, first, size) as compression:
        channels = parts.transformer.config.in_channels
        noise = [draw_noise(generator, channels, *size) for generator in generators]
        latents = sample_together(
            parts.transformer, scheduler, embeds=embeds,
            guidance=Guidance(scale=first.guidance_scale, until=first.guidance_until),
            latents=torch.cat(noise).to(plan.device),
            generators=generators if schedulers.RULES[first.scheduler].stochastic else None,
            on_step=lambda done, of: report("denoise", done, of),
        )  # fmt: skip
        dtype = str(parts.transformer.dtype).removeprefix("torch.")
    return [
        Base(latents=each, dtype=dtype, kv_compression=compression) if is_picture(each) else None
        for each in latents.split(1)
    ]
