"""How good a model is: the loss on held-out pictures under fixed noise, what it draws of what is asked."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from benchmarks.weak_to_strong_stages.pictures import held_out_pictures
from benchmarks.weak_to_strong_stages.studio import Studio
from benchmarks.weak_to_strong_stages.training import held_out_config
from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.sampling import micro_conditions
from pixart_cli.diffusion.training.batches import seed_of
from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.features.evaluate.run import answers, ceiling_marks, floor_marks, plan_evaluation
from pixart_cli.features.evaluate.score import ALL, tally
from pixart_cli.features.evaluate.sheet import write_sheet
from pixart_cli.features.evaluate.suites import get_suite
from pixart_cli.features.finetune.plan import Lesson, TrainPlan, plan_training
from pixart_cli.features.finetune.prepare import Cache
from pixart_cli.features.generate import network

LEVELS = (100, 350, 600, 850)
_ON_A_SHEET = 16


def held_out_loss(studio: Studio, model: Path | str, scale: int) -> dict[str, Any]:
    """Mean squared error of the prediction at each noise level of each picture, and their mean.

    `error` is the standard error over pictures; `pictures` has each picture's mean, to compare models by.
    """
    data = held_out_pictures(studio.out, studio.held_out, scale, studio.seed)
    plan = plan_training(held_out_config(studio, model, data))
    cache = Cache(plan)
    cache.read_pictures(plan.lessons, _ignore)
    cache.read_captions([lesson.picture.caption for lesson in plan.lessons], _ignore)
    began = time.process_time()
    transformer: Any = load_network(
        "transformer", plan.installed.parts["transformer"], spec=plan.spec, dtype=torch.float32,
        device=studio.device,
    )  # fmt: skip
    rows = [_losses(plan, cache, transformer, lesson, index) for index, lesson in enumerate(plan.lessons)]
    means = [fmean(row) for row in rows]
    return {
        "mean": fmean(means), "error": stdev(means) / len(means) ** 0.5,
        "levels": {level: fmean(row[k] for row in rows) for k, level in enumerate(LEVELS)},
        "pictures": [round(mean, 6) for mean in means],
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


@torch.inference_mode()
def _losses(plan: TrainPlan, cache: Cache, transformer: Any, lesson: Lesson, index: int) -> list[float]:
    """The loss of one picture at every level, its noise a function of its number and the level alone."""
    device = next(transformer.parameters()).device
    mean, _ = cache.latents.load(cache.name_of(lesson))
    generators = [torch.Generator().manual_seed(seed_of("held out", index, level)) for level in LEVELS]
    noise = torch.stack([torch.randn(mean.shape, generator=each) for each in generators]).to(device)
    latents, timesteps = mean.expand_as(noise).to(device), torch.tensor(LEVELS, device=device)
    embeds = cache.embeds(lesson.picture.caption).float()[None].expand(len(LEVELS), -1, -1).to(device)
    objective = Objective(prediction_type=plan.prediction_type)
    noisy = objective.noisy(latents, noise, timesteps)
    told = micro_conditions(transformer, noisy, noisy.dtype)
    with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
        output = transformer(
            noisy, encoder_hidden_states=embeds, timestep=timesteps, return_dict=False,
            encoder_attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=device),
            added_cond_kwargs={k: None if v is None else v.expand(len(noisy), -1) for k, v in told.items()},
        )[0]  # fmt: skip
    losses: list[float] = objective.losses(output, latents, noise, timesteps).tolist()
    return losses


def prompt_following(studio: Studio, name: str, model: Path | str, count: int) -> dict[str, Any]:
    """Attributes found of those that `count` held-out prompts name, Wilson's interval, ceiling and floor."""
    suite, began = get_suite("captions"), time.process_time()
    plan = plan_evaluation(suite, str(model), count=count, seed=studio.seed + 1, device=studio.device)
    folder = studio.out / "pictures" / name
    given = list(answers(plan, lambda: network(plan.model, plan.memory), folder, on_progress=_ignore))
    given.sort(key=lambda answer: answer.question.number)
    write_sheet([answer.picture for answer in given[:_ON_A_SHEET]], studio.out / "sheets" / f"{name}.png")
    scores = tally(answer.marks for answer in given)
    questions = [answer.question for answer in given]
    ends = {"ceiling": ceiling_marks(suite, questions), "floor": floor_marks(suite, questions)}
    low, high = scores[ALL].interval
    return {
        **asdict(scores[ALL]), "low": low, "high": high,
        **{key: tally(marks)[ALL].rate for key, marks in ends.items()},
        "cpu_seconds": round(time.process_time() - began, 1),
        "attributes": {key: [score.found, score.asked] for key, score in sorted(scores.items())},
    }  # fmt: skip


def _ignore(_event: object) -> None:
    """Nobody waits for a single picture."""
