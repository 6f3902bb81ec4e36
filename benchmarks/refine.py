"""What the cascade does to a picture of the built-in model: sharper edges, the same composition.

    python benchmarks/refine.py [--res 1080p] [--pictures 8] [--crops DIR]

Draws each held-out prompt twice, as a draft (Lanczos) and refined. Printed are, over all pictures,

* edges: the steepest steps between neighbouring pixels (99.9th percentile of luminance), refined over draft;
* agreement: PSNR of the two, both reduced to the size of the base;
* what a program that looks at the pixels finds of what was asked for, in drafts and refined pictures;
* time: refined over draft, same process, same weights.

With `--crops` it saves the liveliest place of every picture at 100 %, draft left, refined right.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from pixart_cli.core.catalog import BUILT_IN, get_model
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import choose_bin, parse_size
from pixart_cli.diffusion.device import plan, probe
from pixart_cli.diffusion.posters.caption import write_caption
from pixart_cli.diffusion.posters.scene import sample_scene
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.evaluate.captions import Captions, Poster
from pixart_cli.features.evaluate.run import judge
from pixart_cli.features.evaluate.score import tally
from pixart_cli.features.evaluate.suite import Question

CROP = 320


def questions(count: int, width: int, height: int, seed: int) -> list[Question[Poster]]:
    """Held-out prompts with their seeds."""
    rng = Random(f"refine {seed}")
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    captions = [write_caption(scene, rng) for scene in scenes]
    return [
        Question(
            number=index, kind="caption", prompt=caption.text, width=width, height=height, seed=seed + index,
            wanted=Poster(scene, caption.asked),
        )
        for index, (scene, caption) in enumerate(zip(scenes, captions, strict=True))
    ]  # fmt: skip


def found(asked: list[Question[Poster]], pictures: list[Image.Image]) -> float:
    """The share of all that `asked` names that is in `pictures`."""
    suite = Captions()
    pairs = zip(asked, pictures, strict=True)
    return tally(judge(suite, question, picture) for question, picture in pairs)["all"].rate


def request_of(question: Question[Poster], refine: str) -> GenerationRequest:
    """What `pixart gen` would ask for."""
    spec = get_model(BUILT_IN)
    return GenerationRequest(
        prompt=question.prompt, model=BUILT_IN, width=question.width, height=question.height,
        num_inference_steps=spec.default_steps, guidance_scale=spec.default_guidance,
        scheduler=spec.default_scheduler, seed=question.seed, refine=refine,
    )  # fmt: skip


def luminance(picture: Image.Image) -> np.ndarray:
    """Rec. 709 weights on the encoded values, 0 to 1."""
    return np.asarray(picture, np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32) / 255


def steepness(picture: Image.Image) -> float:
    """The 99.9th percentile of the steps between neighbours."""
    values = luminance(picture)
    steps = np.concatenate([np.abs(np.diff(values, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.quantile(steps, 0.999))


def agreement(first: Image.Image, second: Image.Image, size: tuple[int, int]) -> float:
    """PSNR in dB of both reduced to `size`."""
    small = [
        np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32) for picture in (first, second)
    ]
    return float(10 * np.log10(255**2 / max(1e-9, np.square(small[0] - small[1]).mean())))


def crops(draft: Image.Image, refined: Image.Image) -> Image.Image:
    """The place with the steepest edges, side by side."""
    values = luminance(draft)
    energy = Image.fromarray(np.abs(np.diff(values, axis=1)).astype(np.float32)).reduce(CROP // 4)
    row, column = np.unravel_index(np.asarray(energy).argmax(), (energy.height, energy.width))
    left = min(max(0, int((column + 0.5) * CROP / 4) - CROP // 2), draft.width - CROP)
    top = min(max(0, int((row + 0.5) * CROP / 4) - CROP // 2), draft.height - CROP)
    box = (left, top, left + CROP, top + CROP)
    both = Image.new("RGB", (2 * CROP + 8, CROP), "white")
    both.paste(draft.crop(box), (0, 0))
    both.paste(refined.crop(box), (CROP + 8, 0))
    return both


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--res", default="1080p")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--refine", default="auto")
    parser.add_argument("--crops", type=Path)
    options = parser.parse_args()
    size, spec = parse_size(options.res), get_model(BUILT_IN)
    base = choose_bin(size.width, size.height, spec.native)
    asked = questions(options.pictures, size.width, size.height, options.seed)
    memory = plan(probe(), spec, size.width, size.height, device="cpu", refine=options.refine)
    renderer = NetworkRenderer(memory, locate(BUILT_IN))
    drawn: dict[str, list[Image.Image]] = {"off": [], options.refine: []}
    seconds: dict[str, list[float]] = {"off": [], options.refine: []}
    for question in asked:
        for refine in drawn:
            started = time.perf_counter()
            (rendering,) = renderer.render([request_of(question, refine)], on_progress=lambda _event: None)
            seconds[refine].append(time.perf_counter() - started)
            drawn[refine].append(rendering.pixels)
    pairs = list(zip(drawn["off"], drawn[options.refine], strict=True))
    edges = statistics.median(steepness(b) / steepness(a) for a, b in pairs)
    psnr = statistics.median(agreement(a, b, (base.width, base.height)) for a, b in pairs)
    ratio = statistics.median(b / a for a, b in zip(seconds["off"], seconds[options.refine], strict=True))
    print(f"{options.res}, {len(asked)} pictures, refine {options.refine}")
    print(f"edges, refined over draft: {edges:.2f} times as steep")
    print(f"agreement with the draft at the size of the base: {psnr:.1f} dB")
    print(f"time, refined over draft: {ratio:.1f}")
    small = (3 * base.width, 3 * base.height)
    for name, pictures in drawn.items():
        reduced = [picture.resize(small, Image.Resampling.BOX) for picture in pictures]
        share = found([dataclasses.replace(q, width=small[0], height=small[1]) for q in asked], reduced)
        print(f"found of what was asked for, refine {name}: {share:.0%}")
    if options.crops is not None:
        options.crops.mkdir(parents=True, exist_ok=True)
        for index, pair in enumerate(pairs):
            crops(*pair).save(options.crops / f"{index:02}.png")


if __name__ == "__main__":
    main()
