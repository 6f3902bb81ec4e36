"""An arm's training, by the product: a configuration for `pixart train`, and the models it exports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.weak_to_strong_stages.pictures import training_pictures
from benchmarks.weak_to_strong_stages.studio import Studio
from benchmarks.weak_to_strong_stages.walks import VAE, Arm
from pixart_cli.features.finetune.config import TrainConfig, read_config
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.prepare import TrainEvent
from pixart_cli.features.finetune.run import train


def train_to(studio: Studio, arm: Arm, goal: int) -> dict[str, Any]:
    """Train `arm` until `goal` steps are made, from where it is; how long this took."""
    config = configured(studio, arm, goal)
    plan, began, clock = plan_training(config), time.process_time(), time.monotonic()
    done = train(plan, on_event=_tell)
    return {
        "steps_made": done.steps - done.resumed, "steps": done.steps, "loss": done.loss,
        "cpu_seconds": round(time.process_time() - began), "seconds": round(time.monotonic() - clock),
        "precision": plan.precision, "parameters": plan.parameters, "config": config.to_dict(),
    }  # fmt: skip


def configured(studio: Studio, arm: Arm, goal: int) -> TrainConfig:
    """The configuration of `arm`, also written to its folder as `pixart train` would read it."""
    batch = studio.batch if arm.scale == 1 else studio.large_batch
    data = training_pictures(studio.out, studio.pictures // arm.scale, arm.scale, studio.seed)
    values = {
        "recipe": arm.recipe, "model": studio.start, "out": str(studio.run_of(arm)),
        "data": str(data), "cache": str(studio.out / "cache"), "device": studio.device,
        "precision": studio.precision, **arm.settings,
        "batch_size": batch, "accumulate": 1, "optimizer": "adamw", "learning_rate": studio.rate,
        "warmup_steps": 20 if goal > 20 else 0, "schedule": "constant", "clip": 1.0, "seed": studio.seed,
        "gradient_checkpointing": False, "save_every": 50, "keep": 1, "log_every": 1, "plots": False,
        "steps": goal, "export_at": [step for step in studio.steps if step <= goal],
    }  # fmt: skip
    if arm.walk == VAE:
        values["vae"] = str(studio.vae)
    return _read(studio.run_of(arm) / "train.toml", values)


def held_out_config(studio: Studio, model: Path | str, data: Path) -> TrainConfig:
    """A configuration that trains nothing: it names `model` and the pictures of `data`, to measure by."""
    values = {
        "model": str(model), "data": str(data), "out": str(studio.out / "held-out-run"),
        "cache": str(studio.out / "cache"), "device": studio.device,
        "precision": studio.precision,
    }  # fmt: skip
    return _read(studio.out / "held-out-run" / "held-out.toml", values)


def _read(path: Path, values: dict[str, Any]) -> TrainConfig:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return read_config(path, {})


def _tell(event: TrainEvent) -> None:
    if event.done == event.total or event.done % 25 == 0:
        print(f"{event.stage} {event.done}/{event.total} {event.text}", flush=True)
