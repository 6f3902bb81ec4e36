"""A 4K picture, the decode, a denoising step and the memory ladder on a GPU, with random weights.

    python -m benchmarks.gpu [--out DIR] [--seconds 200] [--stages a,b,d,c] [--device cuda] [--toy]

Every stage is a process of its own with a limit of its own: one that fails or hangs leaves the others alone.
All import their libraries at the start and wait for their turn, so that one at a time is on the GPU. What
is measured is written to DIR/stage_X.json at once, and all together to DIR/results.json.

a  a picture of 4096x4096 by `pixart gen`'s own classes against diffusers' pipeline at the full size
b  the exact decode against diffusers' whole and tiled one
c  a guided step at 1024x1024 with each saving, attention kernels, torch.compile
d  the memory ladder with a text encoder as large as T5-XXL

The networks are PixArt-Σ's in shape and filled with random numbers on the device; time and memory do not
depend on the numbers. `--toy` and `--few` do all of it on the processor, to try the script itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Seconds that a stage may take, of 200 in all; less where little is left.
LIMITS = {"a": 115.0, "b": 45.0, "c": 60.0, "d": 55.0}
ROOT = Path(__file__).resolve().parents[1]


def start(stage: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    """The process of `stage`: it imports, and waits for a line that tells it how many seconds it has."""
    command = [sys.executable, "-u", "-m", "benchmarks.gpu", "--stage", stage, "--out", str(options.out)]
    command += ["--device", options.device, "--baseline-seconds", str(options.baseline_seconds)]
    command += [f"--{name}" for name in ("toy", "few") if getattr(options, name)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True)


def conduct(stage: str, process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """Let `process` work for at most `seconds`; how it ended."""
    started = time.monotonic()
    print(f"== stage {stage}, at most {seconds:.0f} s", flush=True)
    try:
        process.communicate(f"{seconds}\n", timeout=seconds + 15)  # it stops by itself where it can
        end = f"exit {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        end = "killed: it took too long"
    except OSError as error:  # it was gone before its turn
        process.kill()
        process.wait()
        end = f"exit {process.returncode}: {error}"
    return {"end": end, "wall": round(time.monotonic() - started, 1)}


def gathered(out: Path, ends: dict[str, Any]) -> dict[str, Any]:
    """All that the stages have written so far."""
    found: dict[str, Any] = {"stages": ends}
    for path in sorted(out.glob("stage_?.json")):
        found[path.stem] = json.loads(path.read_text())
    return found


def conduct_all(options: argparse.Namespace) -> None:
    """One stage after the other, until time is over."""
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    stages = options.stages.split(",")
    processes = {stage: start(stage, options) for stage in stages}
    ends: dict[str, Any] = {}
    try:
        for stage, process in processes.items():
            left = options.seconds - (time.monotonic() - began)
            if left < 5:
                ends[stage] = {"end": "not begun: no time was left"}
                continue
            ends[stage] = conduct(stage, process, min(LIMITS[stage] * options.stretch, left))
            ends["all"] = {"wall": round(time.monotonic() - began, 1)}
            (options.out / "results.json").write_text(json.dumps(gathered(options.out, ends), indent=1))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    print(json.dumps(ends, indent=1), flush=True)


def work(options: argparse.Namespace) -> None:
    """Be the process of one stage."""
    from benchmarks.gpu_stages import decoding, denoising, end_to_end, ladder
    from benchmarks.gpu_stages.networks import few, full, toy
    from benchmarks.gpu_stages.record import Record

    stages = {"a": end_to_end.run, "b": decoding.run, "c": denoising.run, "d": ladder.run}
    seconds = float(sys.stdin.readline() or 0)
    record = Record(options.out / f"stage_{options.stage}.json", options.device, seconds)
    record.about()
    shapes = toy() if options.toy else few() if options.few else full()
    shapes.baseline_seconds = options.baseline_seconds
    stages[options.stage](record, shapes)


def main() -> None:
    """Conduct the stages, or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--seconds", type=float, default=200.0, help="for everything")
    parser.add_argument("--stages", default="a,b,d,c")
    parser.add_argument("--device", help="cuda unless --toy or --few")
    parser.add_argument("--baseline-seconds", type=float, default=35.0, help="for diffusers' 4096x4096")
    parser.add_argument("--stretch", type=float, default=1.0, help="times every stage's own limit")
    parser.add_argument("--toy", action="store_true", help="tiny networks, on the processor")
    parser.add_argument("--few", action="store_true", help="full networks, a small picture, on the processor")
    parser.add_argument("--stage", choices=tuple(LIMITS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = options.device or ("cpu" if options.toy or options.few else "cuda")
    options.out = options.out.absolute()
    if options.stage:
        work(options)
    else:
        conduct_all(options)


if __name__ == "__main__":
    main()
