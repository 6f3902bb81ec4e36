"""What the record of a picture says of the machine and the weights: no paths, no host, no user."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from pixart_cli import __version__
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.quantisation import LIBRARY
from pixart_cli.diffusion.rungs import STREAMED
from pixart_cli.diffusion.weights import Installed


def describe(plan: MemoryPlan, installed: Installed) -> dict[str, Any]:
    """Versions, device, precision, memory plan and weights, as JSON data.

    The attention backend is torch's scaled dot product: diffusers' default processor for this transformer.
    """
    return {
        "pixart": __version__,
        **{name: _version(name) for name in ("torch", "diffusers", "transformers")},
        "device": plan.device.partition(":")[0],
        "device_name": device_name(plan.device),
        **(processor() if plan.on_cpu else {}),
        "dtype": plan.dtype,
        "attention": "sdpa",
        "memory": plan.offload,
        **_spared(plan),
        "weights": installed.revision,
        "family": installed.spec.family,
        "rng": "cpu-float32",
        "clean_caption": False,
    }


def processor() -> dict[str, Any]:
    """What decides how a processor rounds: its instructions and how many threads share a sum."""
    return {"processor": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}


def _spared(plan: MemoryPlan) -> dict[str, Any]:
    """What was done beyond the word for memory, where anything was."""
    spared = {"text_encoder": STREAMED} if plan.streams_encoder else {}
    if plan.encoder_bits != UNQUANTISED:
        spared = {"text_encoder": plan.encoder, LIBRARY: _version(LIBRARY)}
    return spared | ({"memory_ran_out": list(plan.tried)} if plan.tried else {})


def device_name(device: str) -> str:
    """The GPU's product name, or the processor's generic architecture."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return "Apple GPU" if device == "mps" else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
