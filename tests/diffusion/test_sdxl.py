"""Stable Diffusion XL under its several schedulers; what it draws is held to diffusers in `test_peers.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from pixart_cli.core.catalog import get_model
from pixart_cli.core.peers import schedulers_of
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.peer_parts import Parts
from pixart_cli.diffusion.sdxl import Sdxl
from pixart_cli.diffusion.weights import Installed

REQUEST = GenerationRequest(
    prompt="a red sun", model="sdxl", width=128, height=128, num_inference_steps=2,
    guidance_scale=5.0, scheduler="euler", seed=7,
)  # fmt: skip


@pytest.fixture
def sdxl(toy_peers: dict[str, Path], cpu_plan: MemoryPlan) -> Sdxl:
    spec = get_model("sdxl")
    parts = {name: toy_peers["sdxl"] / name for name in spec.components}
    return Sdxl(Parts(Installed("sdxl", spec, parts), cpu_plan))


def draw(sdxl: Sdxl, **changes: object) -> torch.Tensor:
    request = dataclasses.replace(REQUEST, **changes)
    with torch.inference_mode():
        return sdxl.draw(request, (128, 128), lambda _stage, _step, _total: None)[0]


def test_every_scheduler_it_is_offered_draws_and_again_the_same(sdxl: Sdxl) -> None:
    names = schedulers_of(get_model("sdxl"))
    pictures = [draw(sdxl, scheduler=name) for name in names]
    assert all(torch.isfinite(picture).all() for picture in pictures)
    again = [draw(sdxl, scheduler=name) for name in names]
    assert all(torch.equal(one, other) for one, other in zip(pictures, again, strict=True))
    assert not torch.equal(pictures[names.index("euler")], pictures[names.index("euler-a")])


def test_prompt_negative_and_guidance_are_heard(sdxl: Sdxl) -> None:
    plain = draw(sdxl)
    for change in ({"prompt": "a blue sea"}, {"negative_prompt": "moon"}, {"guidance_scale": 1.0}):
        assert not torch.equal(draw(sdxl, **change), plain)


def test_every_step_is_told(sdxl: Sdxl) -> None:
    told: list[tuple[str, int, int]] = []
    with torch.inference_mode():
        sdxl.draw(REQUEST, (128, 128), lambda *event: told.append(event))
    assert [event for event in told if event[0] == "load"] == [("load", i, 4) for i in range(1, 5)]
    assert told[4:] == [("encode", 1, 1), ("denoise", 1, 2), ("denoise", 2, 2), ("decode", 1, 1)]
