"""One picture, from noise to pixels: the base at its native size, then the passes that make it larger.

Between two passes the picture is decoded, enlarged in pixels and encoded again: enlarged latents blur
(MrFlow, arXiv 2607.01642, abstract).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.refine import Pass, base_size, plan_passes
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Bin, choose_bin
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.colour import match_colours
from pixart_cli.diffusion.decode import decode, encode, sound
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.kv_compression import KVCompression
from pixart_cli.diffusion.memory import on_device
from pixart_cli.diffusion.pipeline import Components
from pixart_cli.diffusion.refine import Refinement, refine
from pixart_cli.diffusion.resample import enlarge
from pixart_cli.diffusion.sampling import draw_noise, sample
from pixart_cli.diffusion.transformer import kv_compressed

Report = Callable[[str, int, int], None]
_TOKEN_PIXELS: Final = 16 * 16
_VAE_SCALE: Final = 8
_SEEDS: Final = 2**63
_NEXT_SEED: Final = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: far from every seed one counts up to


@dataclass(kw_only=True)
class Drawn:
    """One picture on its way out, and what happened to it.

    `pixels` (H, W, 3) float32 in [0, 1]; `size` is what the transformer drew first, `passes` what followed.
    """

    native: Bin
    size: tuple[int, int]
    pixels: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    vae_dtype: str = ""
    transformer_dtype: str = ""
    kv_compression: KVCompression | None = None
    passes: list[dict[str, Any]] = field(default_factory=list)


class Cascade:
    """Draws with `parts` as `plan` says. `embeds` are what the transformer is told, negative first."""

    def __init__(
        self, parts: Components, plan: MemoryPlan, spec: ModelSpec, embeds: tuple[torch.Tensor, ...]
    ) -> None:
        self._parts, self._plan, self._spec, self._embeds = parts, plan, spec, embeds

    def draw(self, request: GenerationRequest, report: Report) -> Drawn:
        """The picture of `request`, as large as its passes make it or larger.

        Raises:
            PixartError: "picture-invalid", "disk", or "request-invalid" for a KV compression other than the
                one that the weights were trained with.
        """
        native = choose_bin(request.width, request.height, self._spec.native)
        size = base_size(request.refine, native, request.width, request.height)
        passes = plan_passes(request.refine, self._spec, native, request.width, request.height)
        drawn = Drawn(native=native, size=size)
        self._base(drawn, request, report)
        done, steps = 0, sum(each.steps for each in passes)

        def step() -> None:
            nonlocal done
            done = min(done + 1, steps)
            report("refine", done, steps)

        for index, each in enumerate(passes):
            self._pass(drawn, request, each, index, step)
        return drawn

    def _base(self, drawn: Drawn, request: GenerationRequest, report: Report) -> None:
        def work() -> torch.Tensor:
            generator = _generator(request.seed, 0)
            scheduler = schedulers.build(
                request.scheduler, self._parts.scheduler_config, request.num_inference_steps,
                device=self._plan.device, timesteps=self._spec.timesteps,
            )  # fmt: skip
            channels = self._parts.transformer.config.in_channels
            return sample(
                self._parts.transformer, scheduler, embeds=self._embeds,
                guidance_scale=request.guidance_scale,
                latents=draw_noise(generator, channels, *drawn.size).to(self._plan.device),
                generator=generator if schedulers.RULES[request.scheduler].stochastic else None,
                on_step=lambda done, of: report("denoise", done, of),
            )  # fmt: skip

        self._decode(drawn, self._denoise(drawn, request, work))
        report("decode", 1, 1)

    def _pass(
        self,
        drawn: Drawn,
        request: GenerationRequest,
        each: Pass,
        index: int,
        on_step: Callable[[], None],
    ) -> None:
        before = torch.from_numpy(enlarge(drawn.pixels.numpy(), each.width, each.height))
        source = self._encode(before)
        how = Refinement(
            side=self._spec.native // _VAE_SCALE, guidance_scale=request.guidance_scale,
            guidance_until=each.guidance_until, flat=each.flat,
        )  # fmt: skip
        tail = schedulers.build_tail(
            request.scheduler, self._parts.scheduler_config, each.steps, each.strength,
            device=self._plan.device,
        )  # fmt: skip

        def work() -> torch.Tensor:
            return refine(
                self._parts.transformer, copy.deepcopy(tail), embeds=self._embeds,
                source=source.to(self._plan.device), how=how, generator=_generator(request.seed, index + 1),
                on_step=lambda _done, _of: on_step(),
            )  # fmt: skip

        self._decode(drawn, self._denoise(drawn, request, work))
        drawn.pixels = match_colours(drawn.pixels, before)
        drawn.passes.append({
            "size": [each.width, each.height], "strength": each.strength,
            "timestep": round(float(tail.timesteps[0])), "steps": each.steps,
            "guidance_until": each.guidance_until, "flat": each.flat,
        })  # fmt: skip

    def _denoise(
        self, drawn: Drawn, request: GenerationRequest, work: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Finite latents: half precision that overflows is done again in float32."""
        transformer = self._parts.transformer
        tokens = drawn.size[0] * drawn.size[1] // _TOKEN_PIXELS
        compressed = kv_compressed(transformer, request.kv_compression, tokens=tokens)
        with on_device(transformer, self._plan), compressed as drawn.kv_compression:
            latents, drawn.transformer_dtype = sound(transformer, work, "the latents")
        return latents

    def _decode(self, drawn: Drawn, latents: torch.Tensor) -> None:
        plan = self._plan.for_vae()
        with on_device(self._parts.vae, plan):
            drawn.pixels, drawn.vae_dtype = decode(self._parts.vae, latents.to(plan.device))

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        with on_device(self._parts.vae, self._plan.for_vae()):
            return encode(self._parts.vae, pixels)


def _generator(seed: int, stage: int) -> torch.Generator:
    """The seed's own for the base, stage 0, and one far from it for each pass."""
    return torch.Generator("cpu").manual_seed((seed + stage * _NEXT_SEED) % _SEEDS)
