"""What the ways to fewer computations cost in fidelity, on the built-in model and held-out prompts.

    python -m benchmarks.shortcuts [--pictures 24]

Each prompt is drawn exactly, then with one shortcut at a time from the same noise. Printed for each: the
median PSNR against the exact picture, how much of what was asked for a program finds in the pixels, and
the processor time of denoising, exact over shortcut. The built-in model has 256 tokens, so compression saves
little here; what it saves at large sizes is in `benchmarks/denoise.py --full`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.refine import agreement, found, questions
from pixart_cli.core.catalog import BUILT_IN, get_model
from pixart_cli.diffusion import schedulers, text
from pixart_cli.diffusion.decode import decode
from pixart_cli.diffusion.device import plan, probe
from pixart_cli.diffusion.pipeline import load
from pixart_cli.diffusion.resample import resample
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample
from pixart_cli.diffusion.transformer import kv_compressed
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.evaluate.captions import Poster
from pixart_cli.features.evaluate.suite import Question

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
WAYS: dict[str, tuple[str, float, float]] = {
    "exact": ("off", 1.0, 0.0),
    "kv compression 2": ("2", 1.0, 0.0),
    "kv compression 4": ("4", 1.0, 0.0),
    "guidance in the first half": ("off", 0.5, 0.0),
    "first-block cache 0.05": ("off", 1.0, 0.05),
    "first-block cache 0.1": ("off", 1.0, 0.1),
    "first-block cache 0.2": ("off", 1.0, 0.2),
}


class Bench:
    """The built-in model, its encoder included, and the time each way has taken."""

    def __init__(self) -> None:
        self.spec = get_model(BUILT_IN)
        self.parts = load(locate(BUILT_IN), plan(probe(), self.spec, SIDE, SIDE, device="cpu"))
        self.seconds: dict[str, list[float]] = {name: [] for name in WAYS}

    def draw(self, question: Question[Poster], name: str) -> Image.Image:
        """The picture of `question` in one way."""
        compression, until, first_block = WAYS[name]
        embeds = tuple(
            text.encode(
                self.parts.tokenizer, self.parts.text_encoder, words,
                max_tokens=self.spec.max_tokens, device="cpu",
            )
            for words in ("", question.prompt)
        )  # fmt: skip
        scheduler = schedulers.build("dpm++", self.parts.scheduler_config, self.spec.default_steps)
        generator = torch.Generator().manual_seed(question.seed)
        started = time.process_time()
        with kv_compressed(self.parts.transformer, compression, tokens=(SIDE // 16) ** 2):
            latents = sample(
                self.parts.transformer, scheduler, embeds=embeds,
                guidance=Guidance(scale=self.spec.default_guidance, until=until), first_block=first_block,
                latents=draw_noise(generator, self.parts.transformer.config.in_channels, SIDE, SIDE),
                generator=None,
                on_step=lambda _done, _of: None,
            )  # fmt: skip
        self.seconds[name].append(time.process_time() - started)
        return resample(decode(self.parts.vae, latents)[0].numpy(), SIDE, SIDE)[0]


def main() -> None:
    """Draw every prompt in every way, and print one line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bench, asked = Bench(), questions(options.pictures, SIDE, SIDE, options.seed)
    drawn: dict[str, list[Image.Image]] = {name: [] for name in WAYS}
    with torch.inference_mode():
        for question in asked:  # every way in turn: what else the machine does slows all of them
            for name, pictures in drawn.items():
                pictures.append(bench.draw(question, name))
    for name, pictures in drawn.items():
        psnr = statistics.median(
            agreement(one, exact, (SIDE, SIDE)) for one, exact in zip(pictures, drawn["exact"], strict=True)
        )
        ratio = statistics.median(
            exact / one for one, exact in zip(bench.seconds[name], bench.seconds["exact"], strict=True)
        )
        share = found(asked, pictures)
        shown = "the same" if name == "exact" else f"{psnr:.1f} dB"
        print(f"{name}: {shown}, found {share:.0%}, denoising {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
