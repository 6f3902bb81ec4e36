"""A training step of ours against diffusers' own PixArt-style step on the same model, in one process.

    python benchmarks/train.py [--full] [--size 256] [--batch 4] [--rounds 3] [--dtype float32] [--device cpu]

The step held against is that of diffusers' `train_pixart_sigma_lora` example, made full: accelerate,
`DDPMScheduler.add_noise`, captions padded to 300 tokens and masked, the mean squared error of the noise,
AdamW. Ours pads a batch's captions to the longest of them, which is exact. Every ratio is the median over
rounds of their time to ours. Memory is the peak that the step adds to what weights and optimizer take:
what autograd keeps for the backward pass, counted by its hooks, so that it is the same on every device.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch.nn import functional as F

from pixart_cli.diffusion.training.adapt import Adaptation, adapted
from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.diffusion.training.optimizer import Pace, build_optimizer
from pixart_cli.diffusion.training.samples import Batch
from pixart_cli.diffusion.training.trainer import loss_of
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

PADDED, SHORT, LONG = 300, 12, 40
NOTHING = {"resolution": None, "aspect_ratio": None}
MINI = {"num_attention_heads": 8, "attention_head_dim": 32, "num_layers": 6, "caption_channels": 128}
XL = {"num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "caption_channels": 4096}


class Bench:
    """One network, one batch, two ways to learn from it."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        shape = XL if options.full else MINI
        width = shape["num_attention_heads"] * shape["attention_head_dim"]
        mixed = "bf16" if options.dtype == "bfloat16" else "no"
        self.accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=mixed)
        weak = PixArtSigmaTransformer2DModel(
            **shape, cross_attention_dim=width, sample_size=options.size // 8, out_channels=8,
            interpolation_scale=options.size / 512, use_additional_conditions=False,
        )  # fmt: skip
        self.network = adapted(weak, Adaptation()).train().to(self.accelerator.device)
        self.objective = Objective(prediction_type="epsilon")
        self.schedule = DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
        optimizer = build_optimizer(self.network.parameters(), Pace(steps=1, learning_rate=1e-6))
        self.model, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.batch = self._batch(options.batch, options.size // 8, shape["caption_channels"])

    def _batch(self, count: int, side: int, channels: int) -> Batch:
        lengths = torch.linspace(SHORT, LONG, count).long()
        return Batch(
            latents=torch.randn(count, 4, side, side), noise=torch.randn(count, 4, side, side),
            timesteps=torch.randint(0, 1000, (count,)), embeds=torch.randn(count, LONG, channels),
            mask=(torch.arange(LONG)[None] < lengths[:, None]).long(), weights=torch.ones(count),
        ).to(self.accelerator.device)  # fmt: skip

    def ours(self) -> torch.Tensor:
        """The loss as `pixart train` computes it."""
        return loss_of(self.model, self.network, self.objective, self.batch)

    def theirs(self) -> torch.Tensor:
        """The loss as diffusers' training example computes it."""
        batch, room = self.batch, PADDED - LONG
        noisy = self.schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
        output = self.model(
            noisy, encoder_hidden_states=F.pad(batch.embeds, (0, 0, 0, room)),
            encoder_attention_mask=F.pad(batch.mask, (0, room)), timestep=batch.timesteps,
            added_cond_kwargs=NOTHING,
        ).sample.chunk(2, 1)[0]  # fmt: skip
        return F.mse_loss(output.float(), batch.noise.float(), reduction="mean")

    def step(self, loss: Callable[[], torch.Tensor]) -> float:
        """One whole step; gives its loss."""
        value = loss()
        self.accelerator.backward(value)
        self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value.item()

    def checkpoint(self, wanted: bool) -> None:
        """Switch gradient checkpointing."""
        (
            self.network.enable_gradient_checkpointing
            if wanted
            else self.network.disable_gradient_checkpointing
        )()


@contextmanager
def counted() -> Iterator[list[int]]:
    """Within, the first entry of the list is how many bytes autograd keeps, every storage once."""
    seen: dict[int, int] = {}
    total = [0]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not tensor.is_leaf and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage.nbytes()
            total[0] = sum(seen.values())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total


def time_ways(bench: Bench, rounds: int) -> None:
    """Print pictures a second of both, and their ratio."""
    ways = {"diffusers": bench.theirs, "ours": bench.ours}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, loss in ways.items():
            _wait(bench)
            started = time.perf_counter()
            bench.step(loss)
            _wait(bench)
            if number:  # the first warms up
                times[name].append(time.perf_counter() - started)
    for name, found in times.items():
        print(f"  {name}: {len(bench.batch.latents) / statistics.median(found):.2f} pictures a second")
    ratios = [before / after for before, after in zip(times["diffusers"], times["ours"], strict=True)]
    print(f"  ours is {statistics.median(ratios):.2f}x as fast ({min(ratios):.2f} to {max(ratios):.2f})")


def weigh(bench: Bench) -> None:
    """Print what a step keeps for the backward pass, with checkpointing and without, and what that costs."""
    kept, seconds, losses = {}, {}, {}
    for wanted in (False, True, False, True):
        bench.checkpoint(wanted)
        with counted() as total:
            losses[wanted] = bench.ours().item()
        kept[wanted] = total[0]
        _wait(bench)
        started = time.perf_counter()
        bench.step(bench.ours)
        _wait(bench)
        seconds[wanted] = time.perf_counter() - started
    bench.checkpoint(False)
    tokens = bench.batch.latents[:, 0].numel() / 4
    width, layers = bench.network.inner_dim, len(bench.network.transformer_blocks)
    print(
        f"  kept for the backward pass: {kept[False] / 2**20:.1f} MiB, with checkpointing"
        f" {kept[True] / 2**20:.1f} MiB ({kept[False] / kept[True]:.1f}x less),"
        f" {seconds[True] / seconds[False]:.2f}x the time"
    )
    print(f"  without: {kept[False] / tokens / width / layers:.0f} bytes a token, unit of width and block")


def _wait(bench: Bench) -> None:
    if bench.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure one size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="XL/2 of 0.6 billion parameters, not mini")
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    bench = Bench(options)
    print(f"{'XL/2' if options.full else 'mini'}, {options.size} px, batch {options.batch}, {options.dtype}")
    apart = abs(bench.ours().item() - bench.theirs().item())
    print(f"  the two losses are {apart:.1e} apart")
    time_ways(bench, options.rounds)
    weigh(bench)


if __name__ == "__main__":
    main()
