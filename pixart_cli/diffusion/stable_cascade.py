"""Stable Cascade (Würstchen: Pernias et al. 2023, arXiv 2306.00637) by diffusers' two pipelines: a prior
draws a small latent of the picture, a decoder makes the VQGAN's latent of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import StableCascadeDecoderPipeline
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade_prior import StableCascadePriorPipeline
from diffusers.schedulers.scheduling_ddpm_wuerstchen import DDPMWuerstchenScheduler

from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.decode import sound
from pixart_cli.diffusion.memory import on_device
from pixart_cli.diffusion.peer_parts import Parts, Report, computing_on, in_float32, told

# Those of the published pipelines.
_DECODER_STEPS: Final = 10
_PRIOR_PIXELS: Final = 42.67
_DECODER_SCALE: Final = 10.67
# Only of sides in whole multiples of this do both scales make latents that the decoder can halve four times.
_SIDE: Final = 128


@dataclass(frozen=True)
class _Texts:
    """What the text encoder made of prompt and negative prompt; the latter is None without guidance."""

    prompt: torch.Tensor
    pooled: torch.Tensor
    negative: torch.Tensor | None
    negative_pooled: torch.Tensor | None

    def to(self, device: str, dtype: torch.dtype) -> _Texts:
        """The same, elsewhere."""
        values = (self.prompt, self.pooled, self.negative, self.negative_pooled)
        return _Texts(*(None if value is None else value.to(device, dtype) for value in values))  # type: ignore[arg-type]


class StableCascade:
    """Draws with `parts`. The steps of a request are the prior's."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def draw(
        self, request: GenerationRequest, size: tuple[int, int], report: Report
    ) -> tuple[torch.Tensor, Mapping[str, str]]:
        """Pixels (H, W, 3) in [0, 1] of `even(*size)`, and the precision of each network.

        Raises:
            PixartError: "picture-invalid".
        """
        size = even(*size)
        networks, generator = self._parts.networks(report), torch.Generator("cpu").manual_seed(request.seed)
        prior = self._prior(networks)
        texts = self._embed(prior, request, networks["text_encoder"])
        report("encode", 1, 1)
        small, prior_dtype = self._draw_small(prior, request, texts, size, generator, report)
        tell = told(report, request.num_inference_steps, request.num_inference_steps + _DECODER_STEPS)
        latents, decoder_dtype = self._draw_latents(networks, texts, small, generator, tell)
        vqgan = networks["vqgan"]
        with on_device(vqgan, self._parts.plan.for_vae()):
            pixels, vqgan_dtype = sound(vqgan, lambda: _decode(vqgan, latents), "the decoded picture")
        report("decode", 1, 1)
        precisions = {"prior": prior_dtype, "decoder": decoder_dtype, "vqgan": vqgan_dtype}
        return pixels[0].float().clamp(0, 1).permute(1, 2, 0).contiguous().cpu(), precisions

    def _prior(self, networks: Mapping[str, Any]) -> Any:
        scheduler = DDPMWuerstchenScheduler.from_config(self._parts.schedule("prior_scheduler"))
        return computing_on(
            self._parts.plan.device,
            StableCascadePriorPipeline(
                tokenizer=self._parts.tokenizer(), text_encoder=networks["text_encoder"],
                prior=networks["prior"], scheduler=in_float32(scheduler), resolution_multiple=_PRIOR_PIXELS,
            ),
        )  # fmt: skip

    def _embed(self, prior: Any, request: GenerationRequest, encoder: Any) -> _Texts:
        with on_device(encoder, self._parts.plan):
            values = prior.encode_prompt(
                self._parts.plan.device, 1, 1, request.guidance_scale > 1,
                prompt=request.prompt, negative_prompt=request.negative_prompt or None,
            )  # fmt: skip
        return _Texts(*values)

    def _draw_small(
        self,
        pipeline: Any,
        request: GenerationRequest,
        texts: _Texts,
        size: tuple[int, int],
        generator: torch.Generator,
        report: Report,
    ) -> tuple[torch.Tensor, str]:
        """The prior's latents, (1, 16, about H/42.67, about W/42.67)."""
        device, steps = self._parts.plan.device, request.num_inference_steps
        sides = (math.ceil(side / _PRIOR_PIXELS) for side in reversed(size))
        noise = torch.randn((1, pipeline.prior.config.in_channels, *sides), generator=generator)
        state = generator.get_state()

        def work() -> torch.Tensor:
            generator.set_state(state)
            given = texts.to(device, pipeline.prior.dtype)
            small: torch.Tensor = pipeline(
                width=size[0], height=size[1], num_inference_steps=steps,
                guidance_scale=request.guidance_scale, generator=generator,
                latents=noise.to(device, pipeline.prior.dtype),
                prompt_embeds=given.prompt, prompt_embeds_pooled=given.pooled,
                negative_prompt_embeds=given.negative, negative_prompt_embeds_pooled=given.negative_pooled,
                callback_on_step_end=told(report, 0, steps + _DECODER_STEPS),
            ).image_embeddings  # fmt: skip
            return small

        with on_device(pipeline.prior, self._parts.plan):
            return sound(pipeline.prior, work, "the prior's latents")

    def _draw_latents(
        self,
        networks: Mapping[str, Any],
        texts: _Texts,
        small: torch.Tensor,
        generator: torch.Generator,
        tell: Callable[..., dict[str, Any]],
    ) -> tuple[torch.Tensor, str]:
        """The VQGAN's latents, (1, 4, about H/4, about W/4)."""
        device, decoder = self._parts.plan.device, networks["decoder"]
        scheduler = DDPMWuerstchenScheduler.from_config(self._parts.schedule())
        pipeline = computing_on(
            device,
            StableCascadeDecoderPipeline(
                decoder=decoder, tokenizer=self._parts.tokenizer(), text_encoder=networks["text_encoder"],
                scheduler=in_float32(scheduler), vqgan=networks["vqgan"], latent_dim_scale=_DECODER_SCALE,
            ),
        )  # fmt: skip
        sides = (int(side * _DECODER_SCALE) for side in small.shape[-2:])
        noise = torch.randn((1, decoder.config.in_channels, *sides), generator=generator)
        state = generator.get_state()

        def work() -> torch.Tensor:
            generator.set_state(state)
            given = texts.to(device, decoder.dtype)
            latents: torch.Tensor = pipeline(
                small.to(device, decoder.dtype), num_inference_steps=_DECODER_STEPS, guidance_scale=0.0,
                generator=generator, latents=noise.to(device, decoder.dtype),
                prompt_embeds=given.prompt, prompt_embeds_pooled=given.pooled,
                output_type="latent", callback_on_step_end=tell,
            ).images  # fmt: skip
            return latents

        with on_device(decoder, self._parts.plan):
            return sound(decoder, work, "the decoder's latents")


def even(width: int, height: int) -> tuple[int, int]:
    """The size nearest to `width` x `height` that can be drawn: whole multiples of 128."""
    wide, tall = (max(1, int(side / _SIDE + 0.5)) * _SIDE for side in (width, height))
    return wide, tall


def _decode(vqgan: Any, latents: torch.Tensor) -> torch.Tensor:
    parameter = next(vqgan.parameters())
    scaled = (vqgan.config.scale_factor * latents).to(parameter.device, parameter.dtype)
    pixels: torch.Tensor = vqgan.decode(scaled).sample
    return pixels
