"""Stage c: a guided step at the native size with each saving, attention's kernels, and torch.compile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.denoise import NOTHING, PADDED, Bench, compare
from benchmarks.gpu_stages.networks import Shapes, stock, transformer
from benchmarks.gpu_stages.record import Record
from pixart_cli.diffusion.compiler import compiled as compiled_of
from pixart_cli.diffusion.compiler import compiling
from pixart_cli.diffusion.forward import Forward, run_block

STEPS = 3


def savings(record: Record, bench: Bench) -> dict[str, Any]:
    """As `benchmarks/denoise.py`, by the wall clock."""
    compare(bench, 1, record.clock)
    found = compare(bench, 3, record.clock)
    return {
        name: {"step_seconds": round(way.seconds, 5), "over": way.against, "ratio": round(way.ratio, 4),
               "max_error": way.error}
        for name, way in found.items()
    }  # fmt: skip


def attention(record: Record, shapes: Shapes, side: int, backend: SDPBackend) -> dict[str, Any]:
    """One self-attention of both branches at `side` pixels by one kernel."""
    heads, width = shapes.transformer["num_attention_heads"], shapes.transformer["attention_head_dim"]
    tokens, device = (side // 16) ** 2, "cuda:0" if record.on_gpu else "cpu"
    # Laid out as projections leave it.
    query, key, value = torch.randn(
        3, 2, tokens, heads, width, device=device, dtype=shapes.dtype
    ).transpose(2, 3)  # fmt: skip
    with sdpa_kernel(backend):
        functional.scaled_dot_product_attention(query, key, value)
        times = 1 if tokens > 20000 else 5
        _, found = record.measured(
            lambda: [functional.scaled_dot_product_attention(query, key, value) for _ in range(times)]
        )
    seconds = found["seconds"] / times
    flops = 4 * 2 * tokens**2 * heads * width
    return {"seconds": seconds, "TFLOPs_per_second": flops / seconds / 1e12, "tokens": tokens}


def steps_of(record: Record, draw: Callable[[], Any]) -> float:
    """Seconds of one of `STEPS` steps, warm."""
    draw()
    started = record.clock()
    draw()
    return (record.clock() - started) / STEPS


def compiled(record: Record, bench: Bench) -> dict[str, Any]:
    """Our forward, plain and with its blocks through the compiler."""

    def ours(*, through: bool) -> list[torch.Tensor]:
        with compiling(bench.transformer, on=through):
            predict = Forward(bench.transformer, bench.embeds, NOTHING)
        return [predict(bench.latents, timestep) for timestep in bench.timesteps[:STEPS]]

    found = before_and_after(record, lambda: ours(through=False), lambda: ours(through=True), lambda: None)
    return found | {"failure": compiled_of(run_block).failure}


def diffusers_compiled(record: Record, bench: Bench) -> dict[str, Any]:
    """diffusers' transformer, plain and with every block compiled."""

    def theirs() -> list[torch.Tensor]:
        return bench.plain(PADDED)

    def switch_on() -> None:
        for block in bench.transformer.transformer_blocks:
            block.compile()

    return before_and_after(record, theirs, theirs, switch_on)


def before_and_after(
    record: Record,
    plain: Callable[[], list[torch.Tensor]],
    through: Callable[[], list[torch.Tensor]],
    switch_on: Callable[[], None],
) -> dict[str, Any]:
    """Seconds of a step without and with the compiler, what compiling took, and how far results differ."""
    before, results = steps_of(record, plain), plain()
    switch_on()
    started = time.perf_counter()
    through()
    compiling = time.perf_counter() - started
    after, others = steps_of(record, through), through()
    error = max(float((one - other).abs().max()) for one, other in zip(results, others, strict=True))
    return {"step_seconds": before, "compiled_step_seconds": after, "ratio": before / after,
            "compile_seconds": compiling, "max_error": error}  # fmt: skip


def run(record: Record, shapes: Shapes) -> None:
    """Measure."""
    side = shapes.spec.native
    device = "cuda:0" if record.on_gpu else "cpu"
    made: list[Any] = []

    def build() -> None:
        network = transformer(shapes, device)
        made.append(network)
        made.append(Bench(network, (side, side), STEPS))

    record.attempt("build", build)
    if len(made) < 2:
        return
    network, bench = made
    record.attempt(f"savings at {side}", lambda: savings(record, bench))
    backends = [SDPBackend.FLASH_ATTENTION]
    if record.on_gpu:
        backends += [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    for size in (side, shapes.large):
        for backend in backends:
            record.attempt(
                f"attention at {size} by {backend.name}",
                lambda size=size, backend=backend: attention(record, shapes, size, backend),
                needs=2,
            )

    record.attempt("torch.compile, ours", lambda: compiled(record, bench), needs=20)
    record.attempt(
        "torch.compile, diffusers",
        lambda: diffusers_compiled(record, Bench(stock(shapes, network), (side, side), STEPS)),
        needs=20,
    )
