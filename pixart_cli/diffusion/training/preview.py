"""Pictures of the network in training, to look at while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.decode import decode
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from PIL.Image import Image

    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel


class Preview:
    """Draws squares of the native size, as `spec`'s model is usually drawn.

    Args:
        schedule: the model's scheduler_config.json.
        half: whether to compute in bfloat16.
    """

    def __init__(
        self, spec: ModelSpec, schedule: Mapping[str, Any], native: int, device: torch.device, *, half: bool
    ) -> None:
        self._spec, self._schedule, self._native = spec, schedule, native
        self._device, self._half = device, half

    def draw(
        self,
        transformer: PixArtSigmaTransformer2DModel,
        vae: AutoencoderKL,
        embeds: tuple[torch.Tensor, torch.Tensor],
        seed: int,
    ) -> Image:
        """The picture of a prompt, by (negative, prompt) embeddings, each (L, D).

        Raises:
            PixartError: "picture-invalid" when the network draws nothing.
        """
        spec, training = self._spec, transformer.training
        generator = torch.Generator("cpu").manual_seed(seed)
        scheduler = schedulers.build(
            spec.default_scheduler, self._schedule, spec.default_steps, device=str(self._device)
        )
        noise = draw_noise(generator, transformer.config.in_channels, self._native, self._native)
        transformer.eval()
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self._device.type, torch.bfloat16, enabled=self._half),
            ):
                latents = sample(
                    transformer, scheduler, embeds=embeds if spec.default_guidance > 1 else embeds[1:],
                    guidance=Guidance(scale=spec.default_guidance, until=spec.default_guidance_until),
                    latents=noise.to(self._device),
                    generator=generator if schedulers.RULES[spec.default_scheduler].stochastic else None,
                    on_step=_ignore,
                )  # fmt: skip
            with torch.inference_mode():
                pixels, _ = decode(vae, latents.float())
        finally:
            transformer.train(training)
        return _image(pixels)


def _ignore(_done: int, _of: int) -> None:
    """Nobody waits for a single step."""


def _image(pixels_HWC: torch.Tensor) -> Image:
    from PIL import Image

    return Image.fromarray((pixels_HWC * 255).round().to(torch.uint8).numpy())
