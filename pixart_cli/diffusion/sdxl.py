"""Stable Diffusion XL (Podell et al. 2023, arXiv 2307.01952) by diffusers' `StableDiffusionXLPipeline`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.decode import decode, sound
from pixart_cli.diffusion.memory import on_device
from pixart_cli.diffusion.peer_parts import Parts, Report, computing_on, in_float32, told
from pixart_cli.diffusion.sampling import draw_noise

_EMBEDS: Final = (
    "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
)  # fmt: skip


class Sdxl:
    """Draws with `parts`. The decode is the house's: exact in bands, in float32 where half overflows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def draw(
        self, request: GenerationRequest, size: tuple[int, int], report: Report
    ) -> tuple[torch.Tensor, Mapping[str, str]]:
        """Pixels (H, W, 3) in [0, 1] of `size` = (width, height), and the precision of UNet and VAE.

        Raises:
            PixartError: "picture-invalid".
        """
        parts, plan = self._parts, self._parts.plan
        networks = parts.networks(report)
        pipeline = self._pipeline(request, networks)
        embeds = self._embed(pipeline, request, networks)
        report("encode", 1, 1)
        unet, vae = networks["unet"], networks["vae"]
        with on_device(unet, plan):
            latents, unet_dtype = sound(
                unet, lambda: self._sample(pipeline, request, size, embeds, report), "the latents"
            )
        vae_plan = plan.for_vae()
        with on_device(vae, vae_plan):
            pixels, vae_dtype = decode(vae, latents.float().to(vae_plan.device))
        report("decode", 1, 1)
        return pixels, {"unet": unet_dtype, "vae": vae_dtype}

    def _pipeline(self, request: GenerationRequest, networks: Mapping[str, Any]) -> Any:
        config = self._parts.schedule()
        scheduler = schedulers.build(
            request.scheduler, config, request.num_inference_steps,
            spacing=config.get("timestep_spacing"),
        )  # fmt: skip
        return computing_on(
            self._parts.plan.device,
            StableDiffusionXLPipeline(
                **networks, tokenizer=self._parts.tokenizer(),
                tokenizer_2=self._parts.tokenizer("tokenizer_2"),
                scheduler=in_float32(scheduler), add_watermarker=False,
            ),
        )  # fmt: skip

    def _embed(
        self, pipeline: Any, request: GenerationRequest, networks: Mapping[str, Any]
    ) -> dict[str, torch.Tensor | None]:
        with ExitStack() as there:
            for name in ("text_encoder", "text_encoder_2"):
                there.enter_context(on_device(networks[name], self._parts.plan))
            embeds = pipeline.encode_prompt(
                prompt=request.prompt, negative_prompt=request.negative_prompt or None,
                do_classifier_free_guidance=request.guidance_scale > 1,
            )  # fmt: skip
        return dict(zip(_EMBEDS, embeds, strict=True))

    def _sample(
        self,
        pipeline: Any,
        request: GenerationRequest,
        size: tuple[int, int],
        embeds: Mapping[str, torch.Tensor | None],
        report: Report,
    ) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(request.seed)
        dtype, device = pipeline.unet.dtype, self._parts.plan.device
        noise = draw_noise(generator, pipeline.unet.config.in_channels, *size)
        given = {key: None if value is None else value.to(device, dtype) for key, value in embeds.items()}
        latents: torch.Tensor = pipeline(
            width=size[0], height=size[1], num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale, generator=generator, latents=noise.to(device, dtype),
            output_type="latent", callback_on_step_end=told(report, 0, request.num_inference_steps),
            **given,
        ).images  # fmt: skip
        return latents
