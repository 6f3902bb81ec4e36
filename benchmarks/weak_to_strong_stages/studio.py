"""Where a run works, and what it was asked for; results are JSON files, each found once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.weak_to_strong_stages.walks import Arm

_FREE = ("out", "steps", "device")


@dataclass(frozen=True, kw_only=True)
class Studio:
    """The options of a run; `out` holds everything it makes."""

    out: Path
    start: str
    device: str
    steps: tuple[int, ...]
    batch: int
    large_batch: int
    precision: str
    rate: float
    pictures: int
    held_out: int
    prompts: int
    vae_steps: int
    seed: int

    @property
    def vae(self) -> Path:
        """The folder of the VAE that is swapped in."""
        return self.out / "vae"

    def run_of(self, arm: Arm) -> Path:
        """The folder of an arm's training."""
        return self.out / "runs" / arm.name

    def model_of(self, arm: Arm, step: int) -> Path:
        """An arm's model after `step` steps."""
        return self.run_of(arm) / f"model-{step:08d}"

    def result(self, name: str) -> dict[str, Any] | None:
        """What is known under `name`; None where nothing is yet."""
        path = self.out / "results" / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def once(self, name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `find` gives, written down under `name`; what is there already is only read."""
        known = self.result(name)
        if known is not None:
            return known
        print(f"== {name}", flush=True)
        found = find()
        path = self.out / "results" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(found, indent=1))
        temporary.replace(path)
        return found

    def open(self) -> None:
        """Make the folder this walk's, or see that it is: steps and device may change, all else may not.

        Raises:
            SystemExit: naming what differs.
        """
        told = {key: value for key, value in asdict(self).items() if key not in _FREE}
        begun = self.once("options", lambda: told)
        changed = [key for key, value in told.items() if begun.get(key) != value]
        if changed:
            words = ", ".join(f"{key} was {begun.get(key)}" for key in changed)
            raise SystemExit(f"{self.out} holds a walk of other options: {words}")

    def known(self, kind: str, arm: Arm, step: int) -> dict[str, Any] | None:
        """The "loss" or the "prompts" of an arm after `step` steps; None where it is not measured yet."""
        return self.result(named(kind, arm, step))


def named(kind: str, arm: Arm, step: int) -> str:
    """The name of a result: of which `kind`, of what, after how many steps."""
    return f"{arm.name}-{step:05d}-{kind}"
