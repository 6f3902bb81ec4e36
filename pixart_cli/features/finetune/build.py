"""From a plan to what learns: the network, adapted or with a LoRA, and its trainer at the last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.diffusion.part_files import read_json
from pixart_cli.features.finetune.facts import refuse_changed
from pixart_cli.features.finetune.plan import TrainPlan, told_by

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import LoraConfig

    from pixart_cli.diffusion.training.trainer import Trainer
    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

CHECKPOINTS: Final = "checkpoints"
MARKER: Final = "state.json"


def build_network(plan: TrainPlan) -> tuple[PixArtSigmaTransformer2DModel, LoraConfig | None]:
    """The transformer on the processor, ready to learn, and peft's configuration where it has a LoRA.

    Raises:
        PixartError: "weights-invalid"; "config-invalid" when no layer fits `lora_targets`.
    """
    import torch

    from pixart_cli.diffusion.pipeline import load_network
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    config = plan.config
    with told_by(config, "model"):
        source: Any = load_network(
            "transformer", plan.installed.parts["transformer"], spec=plan.spec, dtype=torch.float32
        )
    change = Adaptation(
        image_size=config.image_size, interpolate=config.interpolate_positions,
        kv_compression=config.compression, kv_start=config.kv_start,
    )  # fmt: skip
    network = adapted(source, change, seed=config.seed)
    lora = _with_lora(plan, network) if config.method == "lora" else None
    if config.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    return network, lora


def _with_lora(plan: TrainPlan, network: PixArtSigmaTransformer2DModel) -> LoraConfig:
    import torch

    from pixart_cli.diffusion.training.adapters import add_lora

    config = plan.config
    if plan.precision == "bfloat16":
        for weight in network.parameters():
            weight.data = weight.data.to(torch.bfloat16)
    try:
        return add_lora(
            network, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets,
            seed=config.seed,
        )  # fmt: skip
    except ValueError as error:
        hint = "Name layers of the transformer, as to_q, to_k, to_v, to_out.0."
        raise config.refuse("lora_targets", f"no layer fits lora_targets ({error})", hint) from None


def build_trainer(
    plan: TrainPlan,
    network: PixArtSigmaTransformer2DModel,
    facts: Mapping[str, Any],
    accelerator: Accelerator,
) -> Trainer:
    """The trainer of `network`, at the last checkpoint of the run where there is one.

    Raises:
        PixartError: "config-invalid" when the run began with other `facts`, "weights-invalid" when a
            checkpoint is damaged.
    """
    from pixart_cli.diffusion.training.loss import Objective
    from pixart_cli.diffusion.training.optimizer import Pace
    from pixart_cli.diffusion.training.snapshot import snapshots_in
    from pixart_cli.diffusion.training.trainer import Run, Trainer

    config, folder = plan.config, Path(plan.config.out) / CHECKPOINTS
    found = snapshots_in(folder)
    if found:
        refuse_changed(plan, read_json(found[-1] / MARKER).get("facts", {}), facts)
    pace = Pace(
        steps=config.steps, learning_rate=config.learning_rate, warmup_steps=config.warmup_steps,
        schedule=config.schedule, optimizer=config.optimizer, betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
    )  # fmt: skip
    objective = Objective(
        prediction_type=plan.prediction_type, learn_sigma=plan.learn_sigma, min_snr=config.min_snr
    )
    run = Run(
        pace=pace, team=plan.team, objective=objective, folder=folder, facts=facts, clip=config.clip,
        ema=config.ema, save_every=config.save_every, keep=config.keep,
    )  # fmt: skip
    return Trainer(network, run, accelerator)
