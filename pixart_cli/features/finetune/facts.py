"""What decides the weights of a run: it goes on only where none of that has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pixart_cli.features.finetune.plan import Lesson, TrainPlan
from pixart_cli.features.finetune.table import FREE, KEYS

# Facts that are no keys, and the key to blame for each.
_BLAMED: Final = {"weights": "model", "latents": "vae", "pictures": "data", "batch": "batch_size"}


def facts_of(plan: TrainPlan, lessons: Iterable[Lesson], vae: str) -> dict[str, Any]:
    """JSON data: the deciding keys, the weights that were begun with, the pictures, how many a step has, and
    the digest of the `vae` that made their latents.

    A recipe's warm-up is none of them: it goes with the number of steps, which may grow.
    """
    config = plan.config
    told = [
        (each.picture.name, each.picture.size_bytes, each.picture.caption, each.width, each.height)
        for each in lessons
    ]
    values = {key: value for key, value in config.to_dict().items() if key in KEYS and key not in FREE}
    for key in ("model", "vae"):  # revision and digest say it better
        values.pop(key)
    if config.is_warmed_by_recipe:
        values.pop("warmup_steps")
    if config.schedule != "constant":
        values["steps"] = config.steps
    pictures = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return {
        **values, "weights": plan.installed.revision, "latents": vae, "pictures": pictures,
        "batch": plan.team.whole,
    }  # fmt: skip


def refuse_changed(plan: TrainPlan, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise "config-invalid", naming the line, where a run that began with `before` cannot go on."""
    keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    if not keys:
        return
    key, config = keys[0], plan.config
    named = _BLAMED.get(key, key)
    what = f"{named} is not what it was when the run in {Path(config.out)} began"
    if key == "batch":
        what += f": a step had {before.get(key)} pictures, now {now.get(key)}"
    elif key not in _BLAMED:
        what += f": it was {before.get(key)!r}"
    hint = "Set it back to go on, or begin anew with --force, or choose another out."
    raise config.refuse(named, what, hint)
