"""Folders of drawn posters with captions: to learn from, and, of scenes never shown, to measure by."""

from __future__ import annotations

from pathlib import Path
from random import Random

from pixart_cli.diffusion.posters.caption import write_caption
from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Scene, sample_scene
from pixart_cli.features.evaluate.captions import SIZES
from pixart_cli.features.train.gallery import training_scene

_DONE = "whole"
# Numbers no training picture of the built-in model has: as many scenes as it saw come before.
_FIRST = 1_000_000


def training_pictures(out: Path, count: int, scale: int, seed: int) -> Path:
    """A folder of `count` pictures of scenes as in training, `scale` times 256 pixels."""
    scenes = [training_scene(_FIRST + index, seed) for index in range(count)]
    return _drawn(out / f"training-{256 * scale}", scenes, scale, f"{seed} training")


def held_out_pictures(out: Path, count: int, scale: int, seed: int) -> Path:
    """The same of scenes with a combination that training never shows."""
    rng = Random(f"{seed} held out")
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    return _drawn(out / f"held-out-{256 * scale}", scenes, scale, f"{seed} held out")


def _drawn(folder: Path, scenes: list[Scene], scale: int, chance: str) -> Path:
    """`scenes` drawn in the suite's three sizes, `scale` times; nothing where that was done before."""
    if (folder / _DONE).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for index, scene in enumerate(scenes):
        width, height = SIZES[index % len(SIZES)]
        rng = Random(f"{chance} {index}")
        picture = draw(scene, width * scale, height * scale, seed=rng.getrandbits(32))
        picture.save(folder / f"{index:05}.png")
        (folder / f"{index:05}.txt").write_text(write_caption(scene, rng).text + "\n")
    (folder / _DONE).touch()
    return folder
