"""Stage d: every rung of the memory ladder draws one picture, text encoder and all."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from benchmarks.gpu_stages.networks import Shapes, renderer
from benchmarks.gpu_stages.record import GIB, Record
from pixart_cli.diffusion.device import plan, probe
from pixart_cli.diffusion.estimate import estimate
from pixart_cli.diffusion.rungs import RUNGS

# What the released text encoder's file holds.
STORED = torch.float32


def draw(record: Record, shapes: Shapes, rung: tuple[str, str]) -> dict[str, Any]:
    """One picture of the native size from nothing; loading is making numbers up, and not in the seconds."""
    side = shapes.spec.native
    device = "cuda:0" if record.on_gpu else "cpu"
    usual = plan(probe(), shapes.spec, side, side, device=device, memory=rung[0])
    chosen = dataclasses.replace(usual, offload=rung[0], encoder=rung[1], dtype=shapes.dtype_name)
    drawing, parts = renderer(shapes, chosen, encoder_dtype=STORED)
    started = record.clock()
    parts.text_encoder  # noqa: B018 -- made now, as the others are when the first is freed
    made = record.clock() - started
    request = shapes.request(width=side, height=side, refine="off")
    ticks: dict[str, float] = {}

    def tell(event: Any) -> None:
        ticks[event.stage] = record.clock()

    begun = record.clock()
    rendering, found = record.measured(lambda: next(drawing.render([request], on_progress=tell)))
    expected = estimate(shapes.spec, side, side, chosen.dtype).peak_bytes[rung]
    return found | {
        "made_seconds": made, "stages": {name: round(at - begun, 2) for name, at in ticks.items()},
        "plan": chosen.words, "ran_out": list(drawing.plan.tried), "estimated_GiB": expected / GIB,
        "dtypes": [rendering.provenance[f"{name}_dtype"] for name in ("transformer", "vae")],
    }  # fmt: skip


def run(record: Record, shapes: Shapes) -> None:
    """All rungs, from the most memory to the least."""
    for rung, needs in zip(RUNGS, (10.0, 10.0, 10.0, 20.0), strict=True):
        record.attempt(", encoder ".join(rung), lambda rung=rung: draw(record, shapes, rung), needs=needs)
