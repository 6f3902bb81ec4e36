"""One text encoder held whole, streamed, and in 8 and 4 bits: memory, time and how far from exact.

    python -m benchmarks.encoder [--layers 3] [--width 4096] [--rounds 2] [--prompts 5]

The class is T5's own with random float32 weights in a file, as released: with the default width blocks of
T5-XXL's very size, three instead of twenty-four. Each way is a process of its own, in turns; the way
"float32" is what the others are held against. "weights" are the bytes of parameters and buffers, of those
that are streamed the ones in the file; "held" is the most memory besides mapped files, from before loading
to the last prompt. Loading includes quantising. Times are processor seconds, medians over the rounds; wall
seconds beside them, which other programs lengthen. Errors are the relative ones of all embeddings:
|x - exact| / |exact|. Needs `pip install 'pixart-cli[quant]'`, and Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.embeds import anonymous, built_elsewhere, run

EXACT = "float32"
WAYS = ("whole", "streamed", "8-bit", "4-bit")
PROMPTS = (
    "a red sun over blue mountains, three pine trees in front, a calm sea, flat poster",
    "a white moon over a dark sea",
    "orange dunes at dusk under many clouds, flat poster",
    "a city at night with a green moon and birds",
    "a yellow hill, a house and a boat, plain colours",
)


def child(way: str, model: str, count: int, saved: str) -> None:
    """Load the encoder of `model` one `way`, encode `count` prompts into `saved`, and print what it took."""
    import torch

    from pixart_cli.core.hub_code import refuse_hub_code

    refuse_hub_code()
    from pixart_cli.diffusion.device import MemoryPlan
    from pixart_cli.diffusion.memory import encoding
    from pixart_cli.diffusion.pipeline import load
    from pixart_cli.diffusion.text import encode
    from pixart_cli.diffusion.weights import locate

    plan = MemoryPlan(
        device="cpu", dtype="float32" if way == EXACT else "bfloat16", offload="full",
        encoder="whole" if way == EXACT else way, estimate_bytes=0, seconds_estimate=None, reasons=(),
    )  # fmt: skip
    parts = load(locate(model), plan)
    warm_up(plan.encoder_bits)
    before, most = anonymous(), 0

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, anonymous() - before)

    clocks = [(time.process_time(), time.perf_counter())]
    encoder: Any = parts.text_encoder
    look()
    for block in encoder.encoder.block:
        block.register_forward_hook(look)
    clocks.append((time.process_time(), time.perf_counter()))
    found = []
    with torch.inference_mode(), encoding(encoder, plan, lambda _key: torch.bfloat16):
        for prompt in PROMPTS[:count]:
            found.append(encode(parts.tokenizer, encoder, prompt, max_tokens=300).float())
            clocks.append((time.process_time(), time.perf_counter()))
    torch.save(found, saved)
    spans = [[b - a for a, b in zip(x, y, strict=True)] for x, y in itertools.pairwise(clocks)]
    print(json.dumps({"held": most, "weights": bytes_of(encoder), "spans": spans}))


def bytes_of(network: Any) -> int:
    """Bytes of all weights; one that has two names counts once."""
    every = {each.data_ptr(): each for each in (*network.parameters(), *network.buffers())}
    return sum(each.numel() * each.element_size() for each in every.values())


def warm_up(bits: int) -> None:
    """Import what a quantised encoder needs: it is the libraries', not the encoder's."""
    if bits < 16:
        import bitsandbytes  # noqa: F401


def error(saved: Path, exact: Path) -> float:
    """The relative error of all embeddings in `saved`."""
    import torch

    ours, theirs = torch.load(saved), torch.load(exact)
    away = sum(float((a - b).square().sum()) for a, b in zip(ours, theirs, strict=True))
    return float((away / sum(float(b.square().sum()) for b in theirs)) ** 0.5)


def measure(place: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """By way: medians of what it took, and its error."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in (EXACT, *WAYS)}
    for number in range(options.rounds + 1):
        for way in (EXACT, *WAYS) if number == 0 else WAYS:
            words = [way, f"{place}/model", str(options.prompts), f"{place}/{way}.pt"]
            command = [sys.executable, "-m", "benchmarks.encoder", "--child", *words]
            runs[way].append(json.loads(run(command, {})["out"]))
    return {
        way: {
            "held": statistics.median(each["held"] for each in found[-options.rounds :]),
            "weights": found[0]["weights"],
            "error": error(Path(place) / f"{way}.pt", Path(place) / f"{EXACT}.pt"),
            **{f"{name} {clock}": _median(found[-options.rounds :], name, index)
               for name in ("load", "prompt") for index, clock in enumerate(("CPU", "wall"))},
        }
        for way, found in runs.items()
    }  # fmt: skip


def _median(found: list[dict[str, Any]], name: str, clock: int) -> float:
    """Of loading, or of a prompt after the first one."""
    if name == "load":
        return statistics.median(each["spans"][0][clock] for each in found)
    return statistics.median(span[clock] for each in found for span in each["spans"][2:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, model, count, saved = options.child
        child(way, model, int(count), saved)
        return
    with tempfile.TemporaryDirectory() as place:
        size = built_elsewhere(Path(place) / "model", options)
        found = measure(place, options)
    print(f"text encoder of {size / 4e6:.0f} million parameters, {size / 1e6:.0f} MB in float32\n")
    print("| | weights | held | error | loading, CPU (wall) | a prompt, CPU (wall) |")
    print("|---|---|---|---|---|---|")
    for way, each in found.items():
        print(
            f"| {way} | {each['weights'] / 1e6:.0f} MB | {each['held'] / 1e6:.0f} MB | {each['error']:.4f} "
            f"| {each['load CPU']:.2f} s ({each['load wall']:.1f}) "
            f"| {each['prompt CPU']:.2f} s ({each['prompt wall']:.1f}) |"
        )


if __name__ == "__main__":
    main()
