"""`pixart batch` against a shell loop of `pixart gen`, a plain diffusers loop, and its own promises of scale.

    python benchmarks/batch.py [--pictures 24] [--steps 4] [--size 256x256] [--rounds 3] [--device cpu]
                               [--memory] [--overhead LINES] [--together]

Pictures a second: all three draw the same prompts with the same weights, as whole processes in turns, and
what is printed are ratios of one run. The shell loop is timed over a few calls: each costs the same.
`--memory` draws 10,000 requests with a stand-in renderer and prints how the resident size grows;
`--overhead` passes over a list of so many lines whose pictures are never drawn; `--together` compares the
forwards of several pictures with those of one, in one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pixart_cli.core.paths import built_in_model_dir

COLOURS = "red blue green white black yellow orange purple".split()
THINGS = ["sun over mountains", "moon over the sea", "hill with pine trees", "tree at night"]
PROMPTS = [f"a {colour} {thing}" for colour, thing in itertools.product(COLOURS, THINGS)]
START = "from pixart_cli.cli.app import main; main()"
PLAIN = """
import sys
import torch
from diffusers import PixArtSigmaPipeline
folder, side, steps, device, target, *prompts = sys.argv[1:]
pipeline = PixArtSigmaPipeline.from_pretrained(folder, torch_dtype=torch.float32).to(device)
pipeline.set_progress_bar_config(disable=True)
for number, prompt in enumerate(prompts):
    image = pipeline(
        prompt, width=int(side), height=int(side), num_inference_steps=int(steps), guidance_scale=4.5,
        generator=torch.Generator("cpu").manual_seed(number), use_resolution_binning=False,
        clean_caption=False,
    ).images[0]
    image.save(f"{target}/{number}.png")
"""


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall time and processor time of one whole process.

    Raises:
        SystemExit: with its standard error when it fails.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])} … failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, spent


def race(options: argparse.Namespace, scratch: Path) -> None:
    """Pictures a second of the three ways, and their ratios."""
    prompts = [PROMPTS[n % len(PROMPTS)] for n in range(options.pictures)]
    listed = scratch / "list.txt"
    listed.write_text("".join(f"{prompt}\n  -s {n}\n" for n, prompt in enumerate(prompts)))
    how = ["-m", "mini", "-r", options.size, "--steps", str(options.steps), "--guidance", "4.5", "-q"]
    how += ["--scheduler", "dpm++", "--device", options.device, "--draft"]
    ours = [sys.executable, "-c", START]
    side = options.size.partition("x")[0]
    times: dict[str, list[tuple[float, float]]] = {"batch": [], "gen": [], "diffusers": []}
    for number in range(options.rounds):
        target = scratch / str(number)
        target.mkdir()
        batch = [*ours, "batch", str(listed), *how, "-o", f"{target}/"]
        gen = [*ours, "gen", PROMPTS[0], *how, "-o", f"{target}/gen.png"]
        plain = [sys.executable, "-c", PLAIN, str(built_in_model_dir()), side, str(options.steps)]
        plain += [options.device.replace("auto", "cpu"), str(target), *prompts]
        for name, command in (("batch", batch), ("gen", gen), ("diffusers", plain)):
            times[name].append(seconds(command))
    print(f"{len(prompts)} pictures of {options.size}, {options.steps} steps:")
    for number, kind in enumerate(("a second", "a second of processor time")):
        medians = {name: statistics.median(each[number] for each in values) for name, values in times.items()}
        medians["gen"] *= len(prompts)
        for other in ("gen", "diffusers"):
            ratio = medians[other] / medians["batch"]
            print(f"batch draws {ratio:.2f} times as many {kind} as {other}")


class Blank:
    """A renderer that draws nothing, at once."""

    def render(self, requests: Any, *, on_progress: Any) -> Any:  # noqa: ARG002 -- as every renderer
        """One grey picture a request."""
        from PIL import Image

        from pixart_cli.core.rendering import Rendering

        for request in requests:
            picture = Image.new("RGB", (request.width, request.height), "grey")
            yield Rendering(pixels=picture, request=request, provenance={}, seconds=0.0)


def batch_of(folder: Path, jobs: Any) -> Any:
    """The events of a batch over `jobs`, drawn by `Blank`."""
    from pixart_cli.features.batch.local import LocalEngine
    from pixart_cli.features.batch.resolve import Resolver
    from pixart_cli.features.batch.run import Batch

    typed = {"res": "32x32", "output": f"{folder}/", "model": "mini"}
    resolver, blank = Resolver(typed, cwd=folder), Blank()
    batch = Batch(resolver, typed=typed)
    engine = LocalEngine(
        lambda *_: blank, resolver.plan_of, force=False, on_progress=lambda _: None, pause=batch.pause
    )
    return batch.run(jobs, engine)


def memory(scratch: Path, requests: int = 10_000) -> None:
    """How the resident size grows from the first thousand requests to the last."""
    import psutil

    from pixart_cli.core.prompt_list import read_jobs

    jobs = read_jobs((f"a red sun number {n}\n" for n in range(requests)), name="list")
    seen = {}
    for number, _ in enumerate(batch_of(scratch, jobs), 1):
        if number in (requests // 10, requests):
            seen[number] = psutil.Process().memory_info().rss
    first, last = seen.values()
    print(
        f"resident memory after {requests} requests is {last / first:.3f} times that after {requests // 10}"
    )


def overhead(scratch: Path, lines: int) -> None:
    """What a line costs that is read, made a request and looked for, and not drawn."""
    from pixart_cli.core.prompt_list import read_jobs

    listed = scratch / "long.txt"
    with listed.open("w", encoding="utf-8") as file:
        file.writelines(f"a red sun over the sea number {n}\n" for n in range(lines))
    parts = 10**9  # of which this one is empty, but every picture has to be named to know that
    from pixart_cli.features.batch.resolve import Resolver
    from pixart_cli.features.batch.run import Batch

    typed = {"res": "256x256", "output": f"{scratch}/", "model": "mini"}
    batch = Batch(Resolver(typed, cwd=scratch), typed=typed, shard=(1, parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with listed.open(encoding="utf-8") as file:
        found = sum(1 for _ in batch.plan(read_jobs(file, name="long.txt")))
    spent = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / before
    print(f"{lines} lines, {found} of this part: {spent / lines * 1e6:.0f} µs of processor time a line;")
    print(f"the largest resident size is {grown:.3f} times that before the first line")


def together(options: argparse.Namespace) -> None:
    """Pictures a second of a loaded renderer, several in a forward against one."""
    from pixart_cli.core.catalog import get_model
    from pixart_cli.core.request import GenerationRequest
    from pixart_cli.diffusion.device import plan, probe
    from pixart_cli.diffusion.renderer import NetworkRenderer
    from pixart_cli.diffusion.weights import locate

    width, height = map(int, options.size.split("x"))
    requests = [
        GenerationRequest(
            prompt=PROMPTS[n % len(PROMPTS)], model="mini", width=width, height=height, scheduler="dpm++",
            num_inference_steps=options.steps, guidance_scale=4.5, seed=n,
        )
        for n in range(options.pictures)
    ]  # fmt: skip
    own = plan(probe(), get_model("mini"), width, height, device=options.device)
    rates: dict[int, list[float]] = {}
    renderers = {
        most: NetworkRenderer(dataclasses.replace(own, together=most), locate("mini"), together=True)
        for most in (1, 2, 4, 8, 16)
    }
    for turn in range(options.rounds + 1):
        for most, renderer in renderers.items():
            started = time.perf_counter()
            for _ in renderer.render(requests, on_progress=lambda _: None):
                pass
            if turn:  # the first one loads
                rates.setdefault(most, []).append(len(requests) / (time.perf_counter() - started))
    one = statistics.median(rates[1])
    for most in (2, 4, 8, 16):
        ratio = statistics.median(rates[most]) / one
        print(f"on {own.device}, {most} in a forward: {ratio:.2f} times as many a second as alone")


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--overhead", type=int, metavar="LINES")
    parser.add_argument("--together", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as scratch:
        if options.memory:
            memory(Path(scratch))
        elif options.overhead:
            overhead(Path(scratch), options.overhead)
        elif options.together:
            together(options)
        else:
            race(options, Path(scratch))


if __name__ == "__main__":
    main()
