"""Stage b: the exact decode against diffusers' whole and tiled one, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log10
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

from benchmarks.gpu_stages.networks import Shapes, autoencoder
from benchmarks.gpu_stages.record import Record
from pixart_cli.diffusion import sweep
from pixart_cli.diffusion.tiled_decode import decode_exact

Decode = Callable[[torch.Tensor], torch.Tensor]
WAYS = ("full", "exact", "tiled")


class Decoding:
    """One autoencoder in two precisions."""

    def __init__(self, record: Record, shapes: Shapes) -> None:
        self.record = record
        self.device = "cuda:0" if record.on_gpu else "cpu"
        self.vaes = {"float32": autoencoder(shapes, self.device, torch.float32)}
        half = autoencoder(shapes, self.device, torch.bfloat16)
        half.load_state_dict(self.vaes["float32"].state_dict())
        self.vaes["bfloat16"] = half
        self.exact: dict[int, torch.Tensor] = {}
        self.seconds: dict[tuple[str, str, int], float] = {}

    def latents(self, side: int) -> torch.Tensor:
        """(1, 4, side/8, side/8), float32, the same every time."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(1, 4, side // 8, side // 8, generator=generator).to(self.device)

    def decoder(self, way: str, dtype: str, side: int) -> Decode:
        """Latents → pixels."""
        vae = self.vaes[dtype]
        vae.disable_tiling()
        if way == "exact":
            return lambda latents: decode_exact(vae, latents)
        if way == "tiled":
            tile = min(vae.config.sample_size, side // 2)  # at its own size it would not tile at all
            vae.enable_tiling()
            vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // 8
        return lambda latents: vae.decode(latents, return_dict=False)[0]

    def measure(self, way: str, dtype: str, side: int) -> dict[str, Any]:
        """Time, memory and error of one way, and ratios over those measured before."""
        decode, latents = self.decoder(way, dtype, side), self.latents(side).to(self.vaes[dtype].dtype)
        pixels, found = self.record.measured(lambda: decode(latents))
        if self.record.left > 10 * found["seconds"]:  # once more, with all kernels loaded
            del pixels
            pixels, again = self.record.measured(lambda: decode(latents))
            found["seconds"] = min(found["seconds"], again["seconds"])
        self.seconds[way, dtype, side] = found["seconds"]
        found |= self.against(pixels, way, dtype, side)
        for other in WAYS:
            if way != other and (other, dtype, side) in self.seconds:
                found[f"time_over_{other}"] = found["seconds"] / self.seconds[other, dtype, side]
        found["decode_GiB"] = found.get("peak_GiB", 0.0) - found.get("before_GiB", 0.0)
        return found

    def against(self, pixels: torch.Tensor, way: str, dtype: str, side: int) -> dict[str, Any]:
        """The error against the whole decode in float32; against the exact one where that did not fit."""
        reference = self.exact.get(side)
        if reference is None:
            if dtype == "float32" and way in ("full", "exact"):
                self.exact[side] = pixels
                return {"reference": way}
            return {}
        span = float(reference.max() - reference.min())
        square, worst = 0.0, 0.0
        for one, other in zip(pixels[0].split(1), reference[0].split(1), strict=True):
            error = one.float() - other
            square += float(error.square().mean()) / len(reference[0])
            worst = max(worst, float(error.abs().max()))
        return {
            "max_error_of_range": worst / span,
            "psnr_dB": -10 * log10(square / span**2) if square else inf,
        }

    def attempt(self, way: str, dtype: str, side: int) -> None:
        """Measure if there is time: at twice the side it takes four times as long, or up to sixteen."""
        before = self.seconds.get((way, dtype, side // 2), 0.1)
        self.record.attempt(
            f"{side} {dtype} {way}", lambda: self.measure(way, dtype, side), needs=1.0 + 8 * before
        )

    def banded(self, side: int, mebibytes: int) -> dict[str, Any]:
        """The exact decode in half precision with bands of another size."""
        decode, latents = self.decoder("exact", "bfloat16", side), self.latents(side).to(torch.bfloat16)
        with mock.patch.object(sweep, "_BAND_BYTES_ELSEWHERE", mebibytes << 20):
            _, found = self.record.measured(lambda: decode(latents))
        return found


def kernels(record: Record, decode: Decode, latents: torch.Tensor) -> dict[str, Any]:
    """Where a decode spends its time: seconds of the kernels that take most, by name."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA if record.on_gpu else ProfilerActivity.CPU]) as seen:
        decode(latents)
        record.sync()
    spent = {
        each.key[:90]: (each.self_device_time_total if record.on_gpu else each.self_cpu_time_total) / 1e6
        for each in seen.key_averages()
    }
    most = sorted(spent.items(), key=lambda pair: -pair[1])[:14]
    return {"all": sum(spent.values()), "most": {name: round(seconds, 4) for name, seconds in most}}


def attention(record: Record, tokens: int, way: str) -> dict[str, Any]:
    """The mid-block's attention, one head of 512, by torch's kernel in several portions or by products."""
    device = "cuda:0" if record.on_gpu else "cpu"
    query, key, value = torch.randn(3, 1, 1, tokens, 512, device=device, dtype=torch.bfloat16)

    def kernel(most: int) -> torch.Tensor:
        pieces = [functional.scaled_dot_product_attention(q, key, value) for q in query.split(most, dim=2)]
        return torch.cat(pieces, dim=2)

    def products(most: int) -> torch.Tensor:
        pieces = []
        for q in query[0].split(most, dim=1):
            if record.on_gpu:
                scores = torch.bmm(q * 512**-0.5, key[0].transpose(1, 2), out_dtype=torch.float32)
            else:
                scores = (q.float() * 512**-0.5) @ key[0].transpose(1, 2).float()
            pieces.append(torch.softmax(scores, dim=-1).to(q.dtype) @ value[0])
        return torch.cat(pieces, dim=1)

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "kernel, whole": lambda: kernel(tokens),
        "kernel, 2048 queries": lambda: kernel(2048),
        "products, 2048 queries": lambda: products(2048),
        "products, 8192 queries": lambda: products(8192),
    }
    work = ways[way]
    work()
    _, found = record.measured(work)
    return found | {"TFLOPs_per_second": 4 * tokens**2 * 512 / found["seconds"] / 1e12, "tokens": tokens}


def run(record: Record, shapes: Shapes) -> None:
    """Measure every size, the whole decode in float32 first: it is what the others are held against."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    made: list[Decoding] = []
    record.attempt("build", lambda: made.append(Decoding(record, shapes)))
    if not made:
        return
    bench = made[0]
    tokens = 65536 if record.on_gpu else 256
    for way in ("kernel, whole", "kernel, 2048 queries", "products, 2048 queries", "products, 8192 queries"):
        record.attempt(f"attention: {way}", lambda way=way: attention(record, tokens, way), needs=2)
    # The whole decode of the largest picture may not fit, or be computed in a way that takes for ever.
    largest = shapes.sides[-1]
    bench.attempt("exact", "bfloat16", largest)
    half = bench.latents(largest).to(torch.bfloat16)
    decode = bench.decoder("exact", "bfloat16", largest)
    record.attempt(f"{largest} exact, kernels", lambda: kernels(record, decode, half), needs=5)
    for side in shapes.sides[:-1]:
        for dtype in ("float32", "bfloat16"):
            for way in WAYS:
                bench.attempt(way, dtype, side)
    for way, dtype in (("exact", "float32"), ("exact", "bfloat16"), ("tiled", "bfloat16")):
        bench.attempt(way, dtype, largest)
    for mebibytes in (16, 256):
        record.attempt(
            f"{largest} bfloat16 exact, bands of {mebibytes} MiB",
            lambda mebibytes=mebibytes: bench.banded(largest, mebibytes),
            needs=3,
        )
    for way, dtype in (("full", "bfloat16"), ("tiled", "float32"), ("full", "float32")):
        bench.attempt(way, dtype, largest)
