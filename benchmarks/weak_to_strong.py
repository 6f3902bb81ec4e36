"""The built-in model walked from weak to strong, with and without what the paper does for each start.

    python -m benchmarks.weak_to_strong [--out DIR] [--steps 0,100,1000] [--arms all] [--device cpu]

kv    keys and values compressed by convolutions that start as averages, or at random
vae   another VAE under the same transformer
size  256 pixels become 512, positions interpolated, or not

Each arm is a run of `pixart train` on drawn posters. Before the first step and after each of `--steps` its
model is measured: the loss on held-out drawn pictures under fixed noise, and how often the pictures of
held-out prompts have what these name. Everything is in DIR: results/*.json, sheets/*.png, table.md and
figures, written anew after every measurement. Stop it at any time: the same command goes on, and what has
a result is not done again. All arms make the first of the steps before any makes the next.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.weak_to_strong_stages.quality import held_out_loss, prompt_following
from benchmarks.weak_to_strong_stages.report import BEFORE, write_report
from benchmarks.weak_to_strong_stages.second_vae import train_second_vae
from benchmarks.weak_to_strong_stages.studio import Studio, named
from benchmarks.weak_to_strong_stages.training import train_to
from benchmarks.weak_to_strong_stages.walks import VAE, Arm, chosen


def walk(studio: Studio, arms: list[Arm]) -> None:
    """Train and measure all that has no result yet: for each number of steps first every arm's loss."""
    studio.once(f"{BEFORE}-loss", lambda: held_out_loss(studio, studio.start, 1))
    for goal in (step for step in studio.steps if step):
        reached = [step for step in studio.steps if step <= goal]
        for arm in arms:
            _train(studio, arm, goal)
            for step in reached:
                _measure(studio, arm, step)
        if studio.prompts:
            _look(studio, f"{BEFORE}-prompts", studio.start, 1)
            for arm in arms:
                for step in reached:
                    _look(studio, named("prompts", arm, step), studio.model_of(arm, step), arm.scale)


def _train(studio: Studio, arm: Arm, goal: int) -> None:
    if arm.walk == VAE:
        studio.once("second-vae", lambda: train_second_vae(studio))
    studio.once(named("training", arm, goal), lambda: train_to(studio, arm, goal))


def _measure(studio: Studio, arm: Arm, step: int) -> None:
    model = studio.model_of(arm, step)
    studio.once(named("loss", arm, step), lambda: held_out_loss(studio, model, arm.scale))
    write_report(studio)


def _look(studio: Studio, name: str, model: Path | str, scale: int) -> None:
    count = max(1, studio.prompts // scale)
    studio.once(name, lambda: prompt_following(studio, name, model, count))
    write_report(studio)


def steps_of(text: str) -> tuple[int, ...]:
    """ "0,100,1000" as numbers in order."""
    found = tuple(sorted({int(part) for part in text.split(",")}))
    if found[0] < 0 or found[-1] == 0:
        raise argparse.ArgumentTypeError("name 0 and numbers of steps above it")
    return found


def main() -> None:
    """Walk, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("weak-to-strong"))
    parser.add_argument("--steps", type=steps_of, default=(0, 100, 1000))
    parser.add_argument("--arms", default="all", help="arms or walks, with commas between")
    parser.add_argument("--start", default="mini", help="the model that is walked")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4, help="pictures a step at 256 pixels")
    parser.add_argument("--large-batch", type=int, default=2, help="pictures a step at 512 pixels")
    parser.add_argument("--precision", default="auto", help="of training: auto, float32 or bfloat16")
    parser.add_argument("--rate", type=float, default=1e-4, help="the learning rate")
    parser.add_argument(
        "--pictures", type=int, default=600, help="drawn pictures to learn from; half at 512 pixels"
    )
    parser.add_argument("--held-out", type=int, default=48, help="drawn pictures to measure the loss on")
    parser.add_argument(
        "--prompts", type=int, default=24, help="held-out prompts to draw; half at 512 pixels"
    )
    parser.add_argument("--vae-steps", type=int, default=600, help="steps of the second VAE's training")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arms = chosen(options.pop("arms"))
    studio = Studio(**options | {"out": options["out"].absolute()})
    studio.open()
    walk(studio, arms)
    write_report(studio)
    print((studio.out / "table.md").read_text(), flush=True)


if __name__ == "__main__":
    main()
