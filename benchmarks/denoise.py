"""A guided denoising step with each exact saving, against diffusers' plain forward, in turns in one process.

    python benchmarks/denoise.py [--full] [--sizes 384x448] [--steps 4] [--rounds 3] [--compile]

A medium-size transformer with random weights by default; `--full` is XL/2, at 512x512 and 1024x1024. What a
saving gives depends on the shapes alone, not on the weights. "plain" is what diffusers' pipeline does: both
prompts padded to 300 tokens and masked. Every ratio is the median over rounds of the time without a saving
to the time with it, and every error the largest difference of an output from the plain one's. The default
clock is the processor's, which a busy machine disturbs least; on a GPU use `--clock wall`. `--compile` adds
torch's compiler, and what it takes at the start.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from pixart_cli.diffusion.compiler import compiling
from pixart_cli.diffusion.forward import ALL, NONE, Forward, feed_forward
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel, kv_compressed

PADDED, PROMPT, EMPTY = 300, 40, 1
NOTHING = {"resolution": None, "aspect_ratio": None}
MEDIUM = {"num_attention_heads": 6, "attention_head_dim": 64, "num_layers": 6, "caption_channels": 1024}
XL = {"num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "caption_channels": 4096}
Draw = Callable[[], list[torch.Tensor]]


class Bench:
    """One transformer, one prompt and the empty negative one, one size: a few steps in each way."""

    def __init__(self, transformer: PixArtSigmaTransformer2DModel, size: tuple[int, int], steps: int) -> None:
        torch.manual_seed(0)
        self.transformer, self.compiles = transformer, False
        channels = transformer.config.caption_channels
        place = {"device": transformer.device, "dtype": transformer.dtype}
        self.embeds = [torch.randn(length, channels, **place) for length in (EMPTY, PROMPT)]
        self.latents = torch.randn(1, 4, size[1] // 8, size[0] // 8, **place)
        self.timesteps = torch.linspace(999, 20, steps, device=transformer.device).round().split(1)
        self.tokens = self.latents.shape[-1] * self.latents.shape[-2] // 4

    def plain(self, length: int) -> list[torch.Tensor]:
        """diffusers' forward, both prompts padded to `length` tokens."""
        pad = torch.nn.functional.pad
        text = torch.stack([pad(each, (0, 0, 0, length - len(each))) for each in self.embeds])
        lengths = torch.tensor([len(each) for each in self.embeds], device=text.device)
        mask = (torch.arange(length, device=text.device)[None] < lengths[:, None]).long()
        noisy = self.latents.expand(2, -1, -1, -1)
        told = {"encoder_hidden_states": text, "encoder_attention_mask": mask, "return_dict": False}
        return [self.transformer(noisy, timestep=t.expand(2), **told)[0] for t in self.timesteps]

    def ours(self, guided: float = 1.0, **savings: bool) -> list[torch.Tensor]:
        """Our forward with these savings and no others; all when none is named."""
        chosen = dataclasses.replace(NONE, **savings) if savings else ALL
        forward = Forward(self.transformer, self.embeds, NOTHING, chosen)
        until = guided * len(self.timesteps)
        return [
            forward(self.latents, timestep, branches=2 if step < until else 1)
            for step, timestep in enumerate(self.timesteps)
        ]

    def compiled(self) -> list[torch.Tensor]:
        """All savings, through torch's compiler."""
        with compiling(self.transformer, on=True):
            return self.ours()

    def pooled(self) -> list[torch.Tensor]:
        """All savings, and keys and values averaged over 2x2 tokens in the deep half."""
        with kv_compressed(self.transformer, "2", tokens=self.tokens):
            return self.ours()

    def ways(self) -> dict[str, tuple[Draw, str | None]]:
        """Name → what to run, and the way that its time is held against."""
        savings = [f.name for f in dataclasses.fields(ALL) if f.type == "bool"]
        alone = {name: (lambda name=name: self.ours(**{name: True}), "no saving") for name in savings}
        return {
            "plain": (lambda: self.plain(PADDED), None),
            "prompt trimmed": (lambda: self.plain(PROMPT), "plain"),
            "no saving": (lambda: self.ours(caption_once=False), "prompt trimmed"),
            **alone,
            "all": (self.ours, "plain"),
            "all, over trimmed": (self.ours, "prompt trimmed"),
            "changes it: guidance off in the second half": (lambda: self.ours(guided=0.5), "all"),
            "changes it: kv compression 2": (self.pooled, "all"),
            **({"rounds otherwise: torch.compile": (self.compiled, "all")} if self.compiles else {}),
        }

    def compile(self) -> float:
        """Compile for this size; the wall seconds it takes."""
        started = time.perf_counter()
        self.compiles = True
        self.compiled()
        return time.perf_counter() - started


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """One way: seconds a step, how many times as fast it is as the way it is held against, and its error."""

    seconds: float
    against: str | None
    ratio: float
    error: float


def compare(bench: Bench, rounds: int, clock: Callable[[], float]) -> dict[str, Compared]:
    """Every way in turns."""
    ways = bench.ways()
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, list[torch.Tensor]] = {}
    for _ in range(rounds):
        for name, (draw, _) in ways.items():
            started = clock()
            results[name] = draw()
            times[name].append(clock() - started)
    steps = len(bench.timesteps)
    return {
        name: Compared(
            seconds=statistics.median(times[name]) / steps,
            against=against,
            ratio=statistics.median(
                before / after for before, after in zip(times[against or name], times[name], strict=True)
            ),
            error=error(results, name),
        )
        for name, (_, against) in ways.items()
    }


def measure(bench: Bench, rounds: int, clock: Callable[[], float]) -> None:
    """Print a line for every way: its ratio, and how far its result is from the plain one."""
    found = compare(bench, rounds, clock)
    print(f"  plain: {found['plain'].seconds:.2f} s a step")
    for name, way in found.items():
        if way.against is not None:
            print(f"  {name}: {way.ratio:.3f}x over {way.against}; max abs {way.error:.1e}")


def error(results: dict[str, list[torch.Tensor]], name: str) -> float:
    """The largest difference of any output from the plain one's; of the prompt alone where that is all."""
    pairs = zip(results[name], results["plain"], strict=True)
    return max((one - other[-len(one) :]).abs().max().item() for one, other in pairs)


def measure_chunks(bench: Bench, tokens: int, rounds: int, clock: Callable[[], float]) -> None:
    """Print what working in chunks does to one feed-forward layer at `tokens` tokens."""
    ff = bench.transformer.transformer_blocks[0].ff
    hidden = torch.randn(1, tokens, bench.transformer.inner_dim).to(bench.latents)
    ratios = []
    for _ in range(rounds):
        started = clock()
        whole = feed_forward(ff, hidden, tokens + 1)
        between = clock()
        chunked = feed_forward(ff, hidden, tokens)
        ratios.append((between - started) / (clock() - between))
    inside = 4 * hidden.nbytes / 2**20
    print(
        f"  feed-forward in chunks, {tokens} tokens: {statistics.median(ratios):.3f}x;"
        f" inside {inside * min(1, 4096 / tokens):.0f} of {inside:.0f} MiB;"
        f" max abs {(whole - chunked).abs().max().item():.1e}"
    )


def built(options: argparse.Namespace) -> PixArtSigmaTransformer2DModel:
    """The transformer, with random weights."""
    torch.manual_seed(0)
    shape = XL if options.full else MEDIUM
    width = shape["num_attention_heads"] * shape["attention_head_dim"]
    network = PixArtSigmaTransformer2DModel(
        **shape, cross_attention_dim=width, sample_size=64, interpolation_scale=1.0,
        use_additional_conditions=False,
    ).eval()  # fmt: skip
    return network.to(options.device, getattr(torch, options.dtype))


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="XL/2 of 0.6 billion parameters")
    parser.add_argument("--sizes", nargs="+", help="WIDTHxHEIGHT in pixels, multiples of 16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--chunk-tokens", type=int, default=16384)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    with torch.inference_mode():
        for text in options.sizes or (["512x512", "1024x1024"] if options.full else ["384x448"]):
            width, height = (int(side) for side in text.split("x"))
            bench = Bench(built(options), (width, height), options.steps)
            name = "XL/2" if options.full else "medium"
            print(f"{name}, {text}, {bench.tokens} tokens, {options.dtype}, {options.steps} steps")
            if options.compile:
                print(f"  compiled in {bench.compile():.0f} s")
            measure(bench, options.rounds, clock)
            measure_chunks(bench, options.chunk_tokens, options.rounds, clock)


if __name__ == "__main__":
    main()
