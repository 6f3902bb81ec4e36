"""`pixart gen` against a plain diffusers script with the same weights, as whole processes, in turns.

    python benchmarks/gen.py [--model DIR] [--rounds 3] [--sizes 256x256 4k]

The plain script is what its author would write: `PixArtSigmaPipeline.from_pretrained`, one call at the
nearest native size, Pillow's Lanczos to the size asked for, save. `pixart gen --draft` does the same work.
Both start from nothing each time and take turns, so that a busy machine slows both alike. What is printed is
the ratio of the medians; beyond the native size also that of the refined picture, which has no counterpart.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pixart_cli.core.paths import built_in_model_dir
from pixart_cli.core.resolution import choose_bin, parse_size

PROMPT = "a red sun over blue mountains"
PLAIN = """
import sys
import torch
from diffusers import PixArtSigmaPipeline
from PIL import Image
folder, prompt, bin_width, bin_height, width, height, target = sys.argv[1:]
pipeline = PixArtSigmaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
image = pipeline(
    prompt, width=int(bin_width), height=int(bin_height), num_inference_steps=20, guidance_scale=4.5,
    generator=torch.Generator("cpu").manual_seed(7), use_resolution_binning=False, clean_caption=False,
).images[0]
if image.size != (int(width), int(height)):
    image = image.resize((int(width), int(height)), Image.Resampling.LANCZOS)
image.save(target)
"""


def ours(model: str, size: str, target: Path, *more: str) -> list[str]:
    """The command line of `pixart gen`, at the same steps, guidance and sampling rule."""
    start = "from pixart_cli.cli.app import main; main()"
    options = [
        "--res",
        size,
        "--seed",
        "7",
        "--steps",
        "20",
        "--guidance",
        "4.5",
        "--scheduler",
        "dpm++",
        "--model",
        model,
        "--force",
        "-q",
    ]
    return [sys.executable, "-c", start, "gen", PROMPT, *options, *more, "--device", "cpu", "-o", str(target)]


def plain(folder: Path, size: str, target: Path) -> list[str]:
    """The command line of the plain script, drawing at the bin that pixart chooses."""
    wanted = parse_size(size)
    native = choose_bin(wanted.width, wanted.height, 256)
    numbers = (native.width, native.height, wanted.width, wanted.height)
    return [sys.executable, "-c", PLAIN, str(folder), PROMPT, *map(str, numbers), str(target)]


def seconds(command: list[str]) -> float:
    """Wall time of one whole process.

    Raises:
        SystemExit: with its standard error when it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:6])} … failed:\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print one line a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a folder of weights of native size 256; default: the built-in model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "4k"])
    options = parser.parse_args()
    folder = Path(options.model or built_in_model_dir())
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "picture.png"
        for size in options.sizes:
            commands = {
                "pixart": ours(options.model or "mini", size, target, "--draft"),
                "diffusers": plain(folder, size, target),
            }
            wanted = parse_size(size)
            if max(wanted.width, wanted.height) > 512:
                commands["pixart, refined"] = ours(options.model or "mini", size, target)
            times: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name, command in commands.items():
                    times[name].append(seconds(command))
            medians = {name: statistics.median(values) for name, values in times.items()}
            for name in commands:
                print(
                    f"{size}: {name} takes {medians[name] / medians['diffusers']:.2f} times diffusers' time"
                )


if __name__ == "__main__":
    main()
