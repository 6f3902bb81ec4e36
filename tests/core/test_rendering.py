"""The values between the networks and the rest, and the one seam."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pytest
from PIL import Image

from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Renderer, Rendering
from pixart_cli.core.request import GenerationRequest

REQUEST = GenerationRequest(
    prompt="a red sun", model="mini", width=32, height=16, num_inference_steps=2, guidance_scale=1.0,
    scheduler="lcm", seed=1,
)  # fmt: skip


class Painter:
    """One colour: the smallest thing that satisfies the protocol."""

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        for index, request in enumerate(requests):
            pixels = Image.new("RGB", (request.width, request.height), "red")
            on_progress(ProgressEvent(stage="denoise", step=1, total=1, index=index))
            yield Rendering(pixels=pixels, request=request, provenance={"painter": 1}, seconds=0.0)


def test_a_stand_in_satisfies_the_protocol() -> None:
    renderer: Renderer = Painter()
    events: list[ProgressEvent] = []
    first, second = renderer.render([REQUEST, REQUEST], on_progress=events.append)
    assert first.pixels.size == second.pixels.size == (32, 16)
    assert [event.index for event in events] == [0, 1]
    assert first.warnings == ()


def test_values_are_frozen() -> None:
    event = ProgressEvent(stage="load", step=1, total=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.step = 2  # type: ignore[misc]
    assert event.index == 0
