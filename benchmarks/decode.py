"""The exact decode in bands against diffusers' full decode and its tiling: ratios of time and memory.

    python benchmarks/decode.py [--sizes 512 1024] [--dtypes float32 bfloat16] [--ways …] [--tile PIXELS]

An autoencoder of SDXL's shape with random weights decodes random latents on the processor, every way in a
process of its own. Time is processor time, so that a busy machine changes little; memory is the peak of
the resident set above what it was before the decode. Errors are against the full decode in float32, as
the largest difference over the range of the output, and as PSNR. diffusers' own tiles are 1024 pixels for
this shape; `--tile` is half the picture's side unless given, since at 1024 pixels it would not tile at all.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = ("full", "tiled", "device", "mapped")


def sdxl_shaped(dtype: str) -> Any:
    """The autoencoder, with the same random weights every time."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, norm_num_groups=32, sample_size=1024,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    return vae.to(getattr(torch, dtype)).eval().requires_grad_(requires_grad=False)


def resident(field: str) -> int:
    """`VmRSS` or `VmHWM` of this process in bytes; where there is no /proc, the peak of all its life."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) << 10
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def decoder(vae: Any, way: str, tile: int) -> Callable[[Any], Any]:
    """Latents → pixels, this way."""
    from pixart_cli.diffusion.tiled_decode import decode_exact

    if way in {"device", "mapped"}:
        return lambda latents: decode_exact(vae, latents, storage=way)
    if way == "tiled":
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // 8
    return lambda latents: vae.decode(latents).sample


def child(way: str, size: int, dtype: str, tile: int, reference: str) -> None:
    """Decode once and print what it took.

    The full float32 decode is written to `reference`, every other is compared with it.
    """
    import torch

    vae = sdxl_shaped(dtype)
    latents = torch.randn(1, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(1))
    decode = decoder(vae, way, tile)
    with torch.inference_mode():
        decode(torch.zeros(1, 4, 8, 8, dtype=vae.dtype))  # loads what torch loads late
        if Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before, started = resident("VmRSS"), (time.process_time(), time.perf_counter())
        pixels = decode(latents.to(vae.dtype))
    found = {
        "cpu": time.process_time() - started[0],
        "wall": time.perf_counter() - started[1],
        "peak": resident("VmHWM") - before,
    }
    if (way, dtype) == ("full", "float32"):
        torch.save(pixels, reference)
    elif Path(reference).exists():
        exact = torch.load(reference)
        error, span = (pixels.float() - exact).abs(), float(exact.max() - exact.min())
        found |= {"error": float(error.max()) / span, "psnr": psnr(float(error.square().mean()), span)}
    print(json.dumps(found))


def psnr(square: float, span: float) -> float:
    """Decibels of a mean squared error against the range."""
    from math import inf, log10

    return -10 * log10(square / span**2) if square else inf


def measure(arguments: list[str]) -> dict[str, float]:
    """What one child found.

    Raises:
        SystemExit: with its standard error when it fails.
    """
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(size: int, dtype: str, way: str, found: dict[str, float], others: dict[str, Any]) -> None:
    """Print one line: absolute numbers, and ratios against those measured before."""
    took = f"{found['cpu']:.1f} s CPU ({found['wall']:.0f} s), {found['peak'] / 2**20:.0f} MiB"
    words = [f"{size} {dtype} {way}: {took}"]
    for name in ("full", "tiled"):
        if way != name and name in others:
            cpu, peak = (found[key] / others[name][key] for key in ("cpu", "peak"))
            words.append(f"{cpu:.2f}x time and {peak:.3f}x memory of {name}")
    if "error" in found:
        words.append(f"error {found['error']:.1e} of the range, {found['psnr']:.1f} dB")
    print("; ".join(words), flush=True)


def main() -> None:
    """Measure and print one line a size, precision and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[512])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, size, dtype, tile, reference = options.child
        child(way, int(size), dtype, int(tile), reference)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for size in options.sizes:
            reference, tile = f"{scratch}/{size}.pt", options.tile or size // 2
            for dtype in options.dtypes:
                others: dict[str, Any] = {}
                for way in options.ways:
                    found = measure([way, str(size), dtype, str(tile), reference])
                    report(size, dtype, way, found, others)
                    others[way] = found


if __name__ == "__main__":
    main()
