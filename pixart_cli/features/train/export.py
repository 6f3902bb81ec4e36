"""Trained parts saved in diffusers' layout, half precision, safetensors only, and read to go on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from pixart_cli.core.catalog import BUILT_IN, LIKE
from pixart_cli.diffusion.configuration import model_index
from pixart_cli.diffusion.objective import BETA_END, BETA_START, NUM_TRAIN_TIMESTEPS
from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.weights import Installed

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
    from transformers import T5EncoderModel, T5Tokenizer


def build_scheduler() -> DPMSolverMultistepScheduler:
    """PixArt's sampler: DPM-Solver++ of order 2 on the linear betas of the training."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="linear",
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )


def save_model(
    out: Path,
    tokenizer: T5Tokenizer,
    encoder: T5EncoderModel,
    vae: AutoencoderKL,
    scale: float,
    transformer: PixArtTransformer2DModel,
) -> None:
    """Write `out`/{tokenizer,text_encoder,vae,transformer,scheduler} and model_index.json."""
    out.mkdir(parents=True, exist_ok=True)
    vae.register_to_config(scaling_factor=scale)
    tokenizer.backend_tokenizer.no_truncation()  # the last batch of the training set both
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(out / "tokenizer")
    build_scheduler().save_pretrained(out / "scheduler")
    for name, model in (("text_encoder", encoder), ("vae", vae), ("transformer", transformer)):
        half = model.to("cpu", torch.float16, memory_format=torch.contiguous_format)
        half.save_pretrained(out / name, safe_serialization=True)
    index = model_index("PixArtSigmaPipeline", ("diffusers", "PixArtTransformer2DModel"))
    index[LIKE] = BUILT_IN
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def saved_network(start: Installed, name: str) -> Any:
    """The network `name` of `start`, in float32, as training goes on with it."""
    return load_network(name, start.parts[name], spec=start.spec, dtype=torch.float32)
