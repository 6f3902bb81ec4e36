"""What a model of each family is made of, and which files of a repository each part needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COMPONENTS: Final = ("tokenizer", "text_encoder", "vae", "transformer", "scheduler")
"""The parts of every PixArt model."""
SHARED: Final = ("tokenizer", "text_encoder", "vae")
"""Those that all models of a family have in common."""

# The systems that PixArt-Σ was measured against, which diffusers' own pipelines draw with.
_OF_PEERS: Final[Mapping[str, tuple[str, ...]]] = {
    "sdxl": ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler"),
    "cascade": (
        "tokenizer", "text_encoder", "prior", "prior_scheduler", "decoder", "vqgan", "scheduler",
    ),
}  # fmt: skip
PEERS: Final = tuple(_OF_PEERS)
"""Families that are not PixArt's."""

_NETWORK: Final = ("config.json", "*.safetensors", "*.safetensors.index.json")


def components_of(family: str) -> tuple[str, ...]:
    """The parts of a model of `family`."""
    return _OF_PEERS.get(family, COMPONENTS)


def networks_of(family: str) -> tuple[str, ...]:
    """Those of its parts that have weights, text encoders first."""
    return tuple(name for name in components_of(family) if is_network(name))


def is_network(component: str) -> bool:
    """Whether `component` has weights."""
    return not is_tokenizer(component) and not is_scheduler(component)


def is_tokenizer(component: str) -> bool:
    """Whether `component` cuts prompts into tokens."""
    return component.startswith("tokenizer")


def is_scheduler(component: str) -> bool:
    """Whether `component` is a noise schedule."""
    return component.endswith("scheduler")


def needed_files(family: str, component: str) -> tuple[str, ...]:
    """Patterns of the files that `component` needs: configuration and safetensors, never pickled weights."""
    if is_tokenizer(component):
        return ("*.json", "merges.txt") if family in PEERS else ("*.json", "spiece.model")
    if is_scheduler(component):
        return ("*.json",)
    # The VAE is one file in every repository, and was never cut into shards.
    return _NETWORK[:2] if component == "vae" else _NETWORK
