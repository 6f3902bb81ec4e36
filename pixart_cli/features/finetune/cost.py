"""What a training run takes: rules of thumb for weights, memory and time. Estimates, never promises."""

from __future__ import annotations

from typing import Any

from pixart_cli.diffusion.device import Accelerator, Machine, flops_a_second
from pixart_cli.diffusion.estimate import Shape, forward_flops
from pixart_cli.diffusion.training.batches import Team
from pixart_cli.features.finetune.config import TrainConfig

# What a block keeps for the backward pass, a token and unit of width: so many numbers of the precision, and
# so many bytes whatever it is. With checkpointing two numbers, and one block's own while computed again.
# Measured on the real class: benchmarks/train.py.
_KEPT_NUMBERS, _KEPT_BYTES, _KEPT_INPUTS = 22, 25, 2


def shape_of(transformer: dict[str, Any], parameters: int) -> Shape:
    """The sizes of the transformer that its configuration tells."""
    width = int(transformer["num_attention_heads"]) * int(transformer["attention_head_dim"])
    layers = int(transformer["num_layers"])
    return Shape(text_encoder=0, transformer=parameters, vae=0, width=width, layers=layers, vae_channels=128)


def trained_parameters(config: TrainConfig, transformer: dict[str, Any], parameters: int) -> int:
    """Weights that learn; for a LoRA about what its matrices hold in the linear layers of every block."""
    if config.method == "full":
        return parameters
    width = int(transformer["num_attention_heads"]) * int(transformer["attention_head_dim"])
    # Per block eight projections of attention (width to width) and two layers of 1:4 and 4:1.
    return int(transformer["num_layers"]) * config.lora_rank * width * (8 * 2 + 2 * 5)


def peak_bytes(config: TrainConfig, shape: Shape, trained: int, native: int, item: int) -> int:
    """Weights, gradients, the optimizer's moments, the average, and what the backward pass needs."""
    moments = 2 if config.optimizer == "adamw" else 1.1
    frozen = shape.transformer if config.method == "lora" else 0
    copies = item if item == 2 and config.method == "full" else 0  # autocast's, for the time of a step
    weights = trained * (4 * (2 + moments + (1 if config.ema else 0)) + copies) + item * frozen
    tokens = config.batch_size * (native / 16) ** 2
    a_block = (_KEPT_NUMBERS * item + _KEPT_BYTES) * tokens * shape.width
    inputs = _KEPT_INPUTS * item * tokens * shape.width * shape.layers
    return int(weights + (inputs + a_block if config.gradient_checkpointing else a_block * shape.layers))


def seconds(
    config: TrainConfig,
    shape: Shape,
    team: Team,
    native: int,
    machine: Machine,
    accelerator: Accelerator | None,
    item: int,
) -> float | None:
    """Forward and twice as much backward; checkpointing makes one more forward."""
    rate = flops_a_second(machine, accelerator, "bfloat16" if item == 2 else "float32")
    if rate is None:
        return None
    passes = 4 if config.gradient_checkpointing else 3
    flops = passes * forward_flops(shape, (native / 16) ** 2) * team.whole * config.steps
    return flops / rate / (team.processes if accelerator is not None else 1)
