"""Stage a: one large picture by the classes that `pixart gen` uses, and by diffusers' pipeline."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from benchmarks.gpu_stages.counting import counted
from benchmarks.gpu_stages.networks import SCHEDULE, Shapes, renderer, stock, tell
from benchmarks.gpu_stages.record import Record
from pixart_cli.core.png import encode
from pixart_cli.core.refine import plan_passes
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion import cascade, schedulers
from pixart_cli.diffusion import renderer as drawing_module
from pixart_cli.diffusion.device import plan, probe
from pixart_cli.diffusion.estimate import estimate
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample
from pixart_cli.diffusion.transformer import kv_compressed

PEAK = 989e12
"""FLOP/s of an H100 SXM in bfloat16, dense."""
# Where the seconds of a picture go, by the names that the cascade and the renderer call.
PARTS = {
    "base": (cascade, "sample"), "refine": (cascade, "refine"), "decode": (cascade, "decode"),
    "encode": (cascade, "encode"), "enlarge": (cascade, "enlarge"), "colours": (cascade, "match_colours"),
    "resample": (drawing_module, "resample"),
}  # fmt: skip


class OverError(Exception):
    """Time for diffusers is over."""


@contextmanager
def timed(record: Record, seconds: dict[str, float]) -> Iterator[None]:
    """Within, what the parts take is added to `seconds`."""

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = record.clock()
            try:
                return work(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + record.clock() - started

        return run

    with ExitStack() as stack:
        for name, (module, attribute) in PARTS.items():
            stack.enter_context(
                mock.patch.object(module, attribute, watched(name, getattr(module, attribute)))
            )
        yield


class EndToEnd:
    """One set of networks, used by both."""

    def __init__(self, record: Record, shapes: Shapes) -> None:
        self.record, self.shapes = record, shapes
        device = "cuda:0" if record.on_gpu else "cpu"
        chosen = plan(
            probe(), shapes.spec, shapes.large, shapes.large, device=device, memory="full", refine="auto"
        )
        self.plan = dataclasses.replace(chosen, dtype=shapes.dtype_name)
        self.drawing, self.parts = renderer(shapes, self.plan)
        tell(self.drawing, shapes)
        self.transformer, self.vae = self.parts.transformer, self.parts.vae

    def cascade(self, **changes: Any) -> dict[str, Any]:
        """A picture as `gen` draws it, and where the time went."""
        seconds: dict[str, float] = {}
        request = self.shapes.request(**changes)

        def draw() -> Any:
            with timed(self.record, seconds):
                return next(self.drawing.render([request], on_progress=lambda _event: None))

        rendering, found = self.record.measured(draw)
        denoising = seconds.get("base", 0.0) + seconds.get("refine", 0.0)
        return {
            **found, "parts": {name: round(each, 3) for name, each in seconds.items()},
            "denoise_seconds": denoising,
            "dtypes": [rendering.provenance[f"{name}_dtype"] for name in ("transformer", "vae")],
            "size": list(rendering.pixels.size), "plan": self.plan.words,
        }  # fmt: skip

    def flops(self) -> dict[str, float]:
        """Denoising's, by the estimates of the package and counted over the operations that are run."""
        shapes, spec = self.shapes, self.shapes.spec
        native = choose_bin(shapes.large, shapes.large, spec.native)
        passes = plan_passes("auto", spec, native, shapes.large, shapes.large)
        none = [dataclasses.replace(each, steps=0) for each in passes]
        both = [
            estimate(dataclasses.replace(spec, default_steps=steps), native.width, native.height,
                     shapes.dtype_name, each).flops
            for steps, each in ((spec.default_steps, passes), (0, none))
        ]  # fmt: skip
        return {"estimated": both[0] - both[1], "executed": counted(shapes, native, passes)}

    def png(self) -> dict[str, Any]:
        """Writing the finished picture, beside the GPU."""
        side = self.shapes.large
        picture = next(
            self.drawing.render([self.shapes.request(refine="off")], on_progress=lambda _event: None)
        ).pixels
        started = time.perf_counter()
        data = encode(picture, [], dpi=None)
        return {"seconds": time.perf_counter() - started, "bytes": len(data), "side": side}

    def direct(self, setting: str, side: int, steps: int = 2) -> dict[str, Any]:
        """`--direct` for a few steps: seconds of one, the first left out."""
        device, ticks = self.plan.device, []
        scheduler = schedulers.build(self.shapes.spec.default_scheduler, SCHEDULE, steps, device=device)
        noise = draw_noise(torch.Generator().manual_seed(1), 4, side, side).to(device)

        def draw() -> torch.Tensor:
            ticks.append(self.record.clock())
            return sample(
                self.transformer, scheduler, embeds=self.shapes.embeds(device),
                guidance=Guidance(scale=self.shapes.spec.default_guidance), latents=noise, generator=None,
                on_step=lambda _done, _of: ticks.append(self.record.clock()),
            )  # fmt: skip

        with kv_compressed(self.transformer, setting, tokens=side * side // 256) as compression:
            _, found = self.record.measured(draw)
        used = None if compression is None else compression.to_dict()
        return found | {"step_seconds": _per_step(ticks), "compression": used, "side": side}

    def diffusers(self, side: int, seconds: float) -> dict[str, Any]:
        """diffusers' pipeline at the whole size; stopped after `seconds` of steps, scaled to all of them."""
        steps, ticks, latents = self.shapes.spec.default_steps, [], []
        pipeline = PixArtSigmaPipeline(
            tokenizer=None, text_encoder=None, vae=self.vae, transformer=stock(self.shapes, self.transformer),
            scheduler=DPMSolverMultistepScheduler(**SCHEDULE),
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)

        def tick(_step: int, _timestep: Any, noisy: torch.Tensor) -> None:
            ticks.append(self.record.clock())
            latents[:] = [noisy]
            if ticks[-1] - ticks[0] + _per_step(ticks) > seconds and len(ticks) <= steps:
                raise OverError

        def draw() -> Any:
            ticks.append(self.record.clock())
            try:
                return pipeline(**self._told(), height=side, width=side, num_inference_steps=steps,
                                callback=tick, callback_steps=1).images[0]  # fmt: skip
            except OverError:
                started = self.record.clock()
                self._finish(pipeline, latents[0])
                ticks.append(self.record.clock() - started)
                return None

        self.vae.enable_tiling()
        try:
            picture, found = self.record.measured(draw)
        finally:
            self.vae.disable_tiling()
        return found | self._whole(ticks, steps, found["seconds"], complete=picture is not None)

    def _told(self) -> dict[str, Any]:
        """The same prompts as the pipeline takes them: padded to the same length, and masked."""
        negative, prompt = self.shapes.embeds(self.plan.device)
        padded = torch.zeros_like(prompt)
        padded[: len(negative)] = negative
        mask = torch.ones(1, len(prompt), dtype=torch.long, device=prompt.device)
        shorter = mask.clone()
        shorter[:, len(negative) :] = 0
        return {
            "negative_prompt": None, "prompt_embeds": prompt[None], "prompt_attention_mask": mask,
            "negative_prompt_embeds": padded[None], "negative_prompt_attention_mask": shorter,
            "guidance_scale": self.shapes.spec.default_guidance, "use_resolution_binning": False,
            "clean_caption": False, "generator": torch.Generator("cpu").manual_seed(7),
        }  # fmt: skip

    def _finish(self, pipeline: Any, latents: torch.Tensor) -> Any:
        """What the pipeline does after its last step."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        pixels = self.vae.decode(scaled, return_dict=False)[0]
        return pipeline.image_processor.postprocess(pixels, output_type="pil")[0]

    def _whole(self, ticks: list[float], steps: int, seconds: float, *, complete: bool) -> dict[str, Any]:
        """Seconds of all steps and what follows: measured, or scaled from the steps that were done."""
        if complete:
            step = _per_step(ticks)
            return {"whole_seconds": seconds, "steps": steps, "step_seconds": step, "scaled": False}
        *begun, rest = ticks
        step = _per_step(begun)
        return {
            "whole_seconds": step * steps + rest, "steps": len(begun) - 1, "of_steps": steps,
            "step_seconds": step, "finish_seconds": rest, "scaled": True,
        }  # fmt: skip


def _per_step(ticks: list[float]) -> float:
    """The median time between ticks, the first left out where there are more."""
    spans = [after - before for before, after in pairwise(ticks)]
    return statistics.median(spans[1:] or spans or [0.0])


@contextmanager
def cudnn_first() -> Iterator[None]:
    """Attention by cuDNN where it can; torch would take its own flash kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION,
             SDPBackend.MATH]  # fmt: skip
    with sdpa_kernel(order, set_priority=True):
        yield


def run(record: Record, shapes: Shapes) -> None:
    """Measure, what matters most first."""
    made: list[EndToEnd] = []

    def build() -> dict[str, Any]:
        bench, found = record.measured(lambda: EndToEnd(record, shapes))
        made.append(bench)
        return found

    record.attempt("build", build)
    if not made:
        return
    bench, small, large = made[0], shapes.spec.native, shapes.large
    record.attempt("warm ours", lambda: bench.cascade(width=2 * small, height=2 * small,
                                                      num_inference_steps=2))  # fmt: skip
    ours = record.attempt("ours", bench.cascade)
    record.attempt("warm diffusers", lambda: bench.diffusers(small, 0.0))
    budget = min(shapes.baseline_seconds, record.left - 15)
    theirs = record.attempt("diffusers", lambda: bench.diffusers(large, budget), needs=25)
    again = record.attempt("ours again", bench.cascade, needs=12)
    mine = min((each for each in (ours, again) if each), key=lambda each: each["seconds"], default=None)
    if mine and theirs:
        record.put("ratio", diffusers_over_ours=theirs["whole_seconds"] / mine["seconds"],
                   scaled=theirs["scaled"], ours_seconds=mine["seconds"],
                   diffusers_seconds=theirs["whole_seconds"])  # fmt: skip
    if record.on_gpu:
        with cudnn_first():
            record.attempt("cudnn attention, warm", lambda: bench.direct("off", small), needs=8)
            record.attempt("cudnn attention, ours", bench.cascade, needs=12)
    for setting in ("off", "auto"):
        record.attempt(
            f"direct, kv {setting}", lambda setting=setting: bench.direct(setting, large), needs=12
        )
    record.attempt("png", bench.png, needs=5)
    if mine:
        record.attempt("share of peak", lambda: shares(bench, mine["denoise_seconds"]))


def shares(bench: EndToEnd, seconds: float) -> dict[str, Any]:
    """What part of the card's peak denoising reached."""
    flops = bench.flops()
    return {
        "denoise_seconds": seconds, **{f"{name}_TFLOP": each / 1e12 for name, each in flops.items()},
        **{f"{name}_share": each / seconds / PEAK for name, each in flops.items()},
    }  # fmt: skip
