"""Weak to strong: the same weights in a network for another size, or with compressed keys and values.

Chen et al. 2024 (PixArt-Σ), arXiv 2403.04692, §3.3. The position embedding is computed, not stored: at a
larger size its range is either kept by interpolation, or continued beyond what was ever trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights

from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

_VAE_SCALE = 8


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What becomes of a network.

    Attributes:
        image_size: the new native side in pixels; 0 keeps it.
        interpolate: whether the positions of the new size share the old one's range.
        kv_compression: as `KVCompression.of` reads it, or None.
        kv_start: "average", as the paper, or "random", to see what that start is worth.
    """

    image_size: int = 0
    interpolate: bool = True
    kv_compression: Mapping[str, Any] | None = None
    kv_start: str = "average"


def adapted(
    source: PixArtSigmaTransformer2DModel, change: Adaptation, *, seed: int = 0
) -> PixArtSigmaTransformer2DModel:
    """A network of its own, in float32, with the weights of `source`, changed as said, every weight to learn.

    Raises:
        ValueError: when keys and values are compressed already, or the compression fits no block.
    """
    # Where the configuration leaves it out, diffusers' class takes it from the size, which changes here.
    kept = {"use_additional_conditions": source.use_additional_conditions}
    config = dict(source.config) | kept | resized(source.config, change)
    config.pop("_use_default_values", None)  # diffusers would take these keys' defaults, whatever is said
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with init_empty_weights(include_buffers=False):
            network: PixArtSigmaTransformer2DModel = PixArtSigmaTransformer2DModel.from_config(config)
        # A copy: weights that are mapped from their file would be changed there, or not at all.
        state = {key: value.detach().float().clone() for key, value in source.state_dict().items()}
        network.load_state_dict(state, assign=True)
        if change.kv_compression is not None:
            _compress(network, change)
    network.requires_grad_(requires_grad=True)
    return network


def resized(config: Mapping[str, Any], change: Adaptation) -> dict[str, Any]:
    """The entries of a transformer's configuration that its new size changes."""
    side = change.image_size // _VAE_SCALE
    if side in (0, config["sample_size"]):
        return {}
    # What a configuration leaves out, diffusers' class fills in so.
    scale = config.get("interpolation_scale") or max(config["sample_size"] // 64, 1)
    grown = scale * side / config["sample_size"] if change.interpolate else scale
    return {"sample_size": side, "interpolation_scale": grown}


def _compress(network: PixArtSigmaTransformer2DModel, change: Adaptation) -> None:
    wish = dict(change.kv_compression or {})
    network.enable_kv_compression(wish["sampling"], wish["ratio"], wish.get("layers"))
    if change.kv_start == "random":
        for block in network.transformer_blocks:
            if hasattr(block.attn1, "sr"):
                block.attn1.sr.reset_parameters()
