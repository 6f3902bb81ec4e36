"""The cascade on the toy: sizes, record, repetition, and what each word of `--refine` does."""

import dataclasses

import numpy as np
import pytest
import torch

from pixart_cli.core.catalog import RefineSettings
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import estimate
from pixart_cli.diffusion.renderer import NetworkRenderer

SMALL = {"width": 600, "height": 431}


@pytest.fixture
def quick(toy):
    """The toy with passes of two steps."""
    settings = RefineSettings(strengths=(0.8, 0.4), steps=(2,), guidance_until=0.5)
    return dataclasses.replace(toy, spec=dataclasses.replace(toy.spec, refine=settings))


def draw(plan, installed, request, events=None):
    renderer = NetworkRenderer(plan, installed)
    (rendering,) = renderer.render([request], on_progress=(events if events is not None else []).append)
    return rendering


def pixels_of(rendering):
    return np.asarray(rendering.pixels)


def test_passes_reach_the_size_asked_for_and_are_recorded(quick, cpu_plan, request_for):
    events = []
    rendering = draw(cpu_plan, quick, request_for(refine="auto", **SMALL), events)
    facts = rendering.provenance
    assert rendering.pixels.size == (600, 431)
    assert facts["drawn"] == facts["bin"]
    assert facts["refine"][-1]["size"] == [608, 432]
    assert [each["strength"] for each in facts["refine"]] == [0.8, 0.4][: len(facts["refine"])]
    assert all(each["steps"] == 2 and 0 < each["timestep"] < 400 for each in facts["refine"])
    assert facts["resample"]["method"] == "none"
    refined = [(event.step, event.total) for event in events if event.stage == "refine"]
    total = 2 * len(facts["refine"])
    assert refined == [(step, total) for step in range(1, total + 1)]


def test_the_same_request_gives_the_same_picture(quick, cpu_plan, request_for):
    request = request_for(refine="1", **SMALL)
    first, again = (draw(cpu_plan, quick, request) for _ in range(2))
    assert np.array_equal(pixels_of(first), pixels_of(again))
    other = draw(cpu_plan, quick, dataclasses.replace(request, seed=8))
    assert not np.array_equal(pixels_of(first), pixels_of(other))


def test_off_enlarges_the_base(quick, cpu_plan, request_for):
    rendering = draw(cpu_plan, quick, request_for(refine="off", **SMALL))
    assert rendering.provenance["refine"] == []
    assert rendering.provenance["resample"]["method"].startswith("lanczos3")


def test_the_base_of_a_refined_picture_is_the_draft(quick, cpu_plan, request_for, monkeypatch):
    """A draft is finished by asking for the same picture without it: what is refined must be that draft."""
    from pixart_cli.diffusion import cascade

    seen = []
    original = cascade.decode
    monkeypatch.setattr(
        cascade, "decode", lambda vae, latents: seen.append(latents.clone()) or original(vae, latents)
    )
    draw(cpu_plan, quick, request_for(refine="off", **SMALL))
    draw(cpu_plan, quick, request_for(refine="1", **SMALL))
    assert torch.equal(seen[0], seen[1])
    assert len(seen) == 3


def test_a_weak_pass_changes_less_than_a_strong_one(quick, cpu_plan, request_for):
    draft, weak, strong = (
        pixels_of(draw(cpu_plan, quick, request_for(refine=value, **SMALL))).astype(float)
        for value in ("off", "0.05", "2.0")
    )
    assert np.abs(weak - draft).mean() < np.abs(strong - draft).mean()


def test_direct_samples_the_whole_size(quick, cpu_plan, request_for):
    facts = draw(cpu_plan, quick, request_for(refine="direct", **SMALL)).provenance
    assert facts["drawn"] == [608, 432]
    assert facts["refine"] == []
    assert facts["resample"]["method"] == "none"
    assert facts["delivered"] == [600, 431]


@pytest.mark.parametrize("scheduler", ["euler-a", "ddim", "lcm"])
def test_other_rules_refine_too(quick, cpu_plan, request_for, scheduler):
    rendering = draw(cpu_plan, quick, request_for(refine="1", scheduler=scheduler, **SMALL))
    assert rendering.pixels.size == (600, 431)


def test_half_precision_and_bands_draw_nearly_the_same(quick, cpu_plan, request_for, monkeypatch):
    request = request_for(refine="0.3", **SMALL)
    exact = pixels_of(draw(cpu_plan, quick, request)).astype(float)
    half = pixels_of(draw(dataclasses.replace(cpu_plan, dtype="bfloat16"), quick, request)).astype(float)
    assert np.abs(half - exact).mean() < 8
    monkeypatch.setattr(estimate, "_WHOLE_BYTES", 0)
    banded = pixels_of(draw(cpu_plan, quick, request)).astype(float)
    assert np.abs(banded - exact).max() <= 1


def test_latents_that_break_in_a_pass_are_an_error(quick, cpu_plan, request_for, monkeypatch):
    from pixart_cli.diffusion import cascade

    monkeypatch.setattr(cascade, "refine", lambda *_, source, **__: source * float("nan"))
    with pytest.raises(PixartError) as caught:
        draw(cpu_plan, quick, request_for(refine="1", **SMALL))
    assert caught.value.code == "picture-invalid"
