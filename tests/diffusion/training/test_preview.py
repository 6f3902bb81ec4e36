"""Sample pictures of a network that learns."""

import numpy as np
import torch

from pixart_cli.diffusion.training.preview import Preview


def test_the_picture_is_that_of_gen(network, toy, cpu_plan, request_for) -> None:
    """The toy drawn while it could learn equals the toy drawn by the renderer, with the same seed."""
    from pixart_cli.diffusion.pipeline import load
    from pixart_cli.diffusion.renderer import NetworkRenderer
    from pixart_cli.diffusion.text import encode
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    spec = toy.spec
    request = request_for(
        width=256, height=256, num_inference_steps=spec.default_steps, guidance_scale=spec.default_guidance
    )
    (rendering,) = NetworkRenderer(cpu_plan, toy).render([request], on_progress=lambda event: None)
    parts = load(toy, cpu_plan)
    learning = adapted(parts.transformer, Adaptation()).train()
    with torch.inference_mode():
        embeds = tuple(encode(parts.tokenizer, parts.text_encoder, text, max_tokens=32)
                       for text in ("", "a red sun"))  # fmt: skip
    preview = Preview(spec, parts.scheduler_config, 256, torch.device("cpu"), half=False)
    picture = preview.draw(learning, parts.vae, embeds, request.seed)
    assert learning.training
    assert picture.size == (256, 256)
    assert np.abs(np.asarray(picture, int) - np.asarray(rendering.pixels, int)).max() <= 1
