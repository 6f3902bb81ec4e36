"""A complete PixArt-Σ model at toy size: the real classes, built offline, saved in diffusers' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

WORDS = "a red blue green sun moon sea hill over under with and the black square of mountain".split()
MODEL_INDEX = {
    "_class_name": "PixArtSigmaPipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "PixArtTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


BETAS = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
# What the parts of PixArt-α's models differ in, and what Σ's at toy size has instead.
VARIANTS = {
    "alpha-512": {"sample_size": 64},
    "alpha-1024": {"sample_size": 128, "use_additional_conditions": True},
    "lcm": {"sample_size": 128, "use_additional_conditions": True, "scheduler": LCMScheduler(**BETAS)},
    "dmd": {
        "sample_size": 64, "scheduler": DDPMScheduler(clip_sample=False, **BETAS),
        "index": {"_pixart_model": "dmd"},
    },
}  # fmt: skip


def toy_tokenizer(model_max_length: int = 32) -> T5Tokenizer:
    """A word-level Unigram tokenizer over :data:`WORDS`; every other word is unknown."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0), (",", -3.0)]
    vocabulary = special + [(f"▁{word}", -4.0) for word in WORDS]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=model_max_length)


def toy_text_encoder(vocabulary_size: int, width: int = 16) -> T5EncoderModel:
    """A two-layer gated T5 encoder 16 wide."""
    config = T5Config(
        vocab_size=vocabulary_size, d_model=width, d_kv=width // 2, d_ff=2 * width, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )  # fmt: skip
    return T5EncoderModel(config)


def toy_vae(
    channels: tuple[int, ...] = (8, 8, 16, 16),
    *,
    layers: int = 1,
    groups: int = 4,
    mid_attention: bool = True,
    scaling_factor: float = 0.5,
) -> AutoencoderKL:
    """An 8x autoencoder with four one-layer stages, or of another shape."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=layers, norm_num_groups=groups, mid_block_add_attention=mid_attention,
        sample_size=256, scaling_factor=scaling_factor,
    )  # fmt: skip


def lively_vae(*args: Any, seed: int = 0, **kwargs: Any) -> AutoencoderKL:
    """A :func:`toy_vae` for inference whose norms scale and shift, so that statistics matter."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        vae = toy_vae(*args, **kwargs)
        for parameter in vae.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return vae.eval().requires_grad_(requires_grad=False)


def toy_transformer(
    *,
    sample_size: int = 32,
    use_additional_conditions: bool = False,
    interpolation_scale: float = 0.5,
    kv_compression: dict[str, Any] | None = None,
    num_layers: int = 2,
    caption_channels: int = 16,
) -> PixArtTransformer2DModel:
    """A two-block PixArt transformer 24 wide that predicts noise and sigma; ours if compressed."""
    ours = {} if kv_compression is None else {"kv_compression": kv_compression}
    return (PixArtSigmaTransformer2DModel if ours else PixArtTransformer2DModel)(
        num_attention_heads=3, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=num_layers,
        cross_attention_dim=24, sample_size=sample_size, patch_size=2, caption_channels=caption_channels,
        interpolation_scale=interpolation_scale, use_additional_conditions=use_additional_conditions,
        **ours,
    )  # fmt: skip


def build_toy_model(
    folder: Path,
    *,
    sample_size: int = 32,
    use_additional_conditions: bool = False,
    kv_compression: dict[str, Any] | None = None,
    scheduler: Any = None,
    index: dict[str, Any] | None = None,
    encoder_width: int = 16,
) -> Path:
    """Save a whole toy model under `folder` as safetensors, the same one every time, and return `folder`."""
    alpha = (index or {}).get("_class_name") == "PixArtAlphaPipeline"
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    tokenizer = toy_tokenizer(120 if alpha else 32)
    tokenizer.save_pretrained(folder / "tokenizer")
    toy_text_encoder(len(tokenizer), encoder_width).save_pretrained(folder / "text_encoder")
    # At 1024 the attention in the middle, over 128 x 128 places, would take most of a picture's time.
    vae = toy_vae(scaling_factor=0.18215 if alpha else 0.5, mid_attention=not alpha or sample_size < 128)
    vae.save_pretrained(folder / "vae")
    transformer = toy_transformer(
        sample_size=sample_size,
        use_additional_conditions=use_additional_conditions,
        interpolation_scale=sample_size / 64,
        kv_compression=kv_compression,
        caption_channels=encoder_width,
    )
    transformer.save_pretrained(folder / "transformer")
    scheduler = scheduler or DPMSolverMultistepScheduler(**BETAS)
    scheduler.save_pretrained(folder / "scheduler")
    entries = MODEL_INDEX | {"scheduler": ["diffusers", type(scheduler).__name__]} | (index or {})
    (folder / "model_index.json").write_text(json.dumps(entries, indent=2))
    torch.set_rng_state(generator_state)
    return folder


def build_toy_alpha(folder: Path, name: str) -> Path:
    """As `build_toy_model`, of PixArt-α's family: the toy of the catalogue's model `name`."""
    values = VARIANTS[name]
    index = {"_class_name": "PixArtAlphaPipeline"} | values.get("index", {})
    return build_toy_model(folder, **values | {"index": index})
