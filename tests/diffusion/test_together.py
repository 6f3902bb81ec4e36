"""Several pictures in one forward: the same pictures, up to rounding, and what cannot share one."""

import dataclasses

import numpy as np
import pytest
import torch

from pixart_cli.diffusion import renderer as module
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.together import batches
from pixart_cli.diffusion.weights import locate

PROMPTS = ("a red sun", "the moon over the black sea and a mountain", "blue")


@pytest.fixture(scope="module")
def toy(toy_folder):
    return locate(str(toy_folder))


def drawn(plan, toy, requests, *, most):
    engine = NetworkRenderer(dataclasses.replace(plan, together=most), toy, together=True)
    return list(engine.render(requests, on_progress=lambda event: None))


def worst(first, second):
    pairs = zip(first, second, strict=True)
    return max(int(np.abs(np.asarray(a.pixels, int) - np.asarray(b.pixels, int)).max()) for a, b in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"negative_prompt": "a blue square"},
        {"guidance_scale": 1.0},
        {"scheduler": "euler-a"},
        {"width": 304},
    ],
    ids=["guided", "negative", "unguided", "with noise", "oblong"],
)
def test_pictures_that_share_a_forward_are_those_drawn_alone(cpu_plan, toy, request_for, changes):
    requests = [request_for(prompt=prompt, seed=n, **changes) for n, prompt in enumerate(PROMPTS)]
    alone, together = (drawn(cpu_plan, toy, requests, most=most) for most in (1, 3))
    assert [each.provenance.get("together") for each in together] == [True] * 3
    assert not any("together" in each.provenance for each in alone)
    assert worst(alone, together) <= 1  # of 255
    assert worst(alone, alone[1:] + alone[:1]) > 20  # and the pictures differ from each other


def test_only_neighbours_that_are_alike_share_one(toy, request_for):
    requests = [
        request_for(seed=1), request_for(seed=2), request_for(seed=3), request_for(seed=4, width=304),
        request_for(seed=5, num_inference_steps=2), request_for(seed=6, num_inference_steps=2),
        request_for(init_image="0" * 64, strength=0.5), request_for(init_image="0" * 64, strength=0.5),
    ]  # fmt: skip
    found = list(batches(requests, toy.spec, lambda: 2))
    assert [(batch.first, len(batch.requests)) for batch in found] == [
        (0, 2), (2, 1), (3, 1), (4, 2), (6, 1), (7, 1),
    ]  # fmt: skip
    assert [request for batch in found for request in batch.requests] == requests


def test_memory_that_runs_out_makes_them_fewer(cpu_plan, toy, request_for, monkeypatch):
    tried = []
    draw_bases = module.draw_bases

    def short(parts, plan, spec, requests, *rest):
        tried.append(len(requests))
        if len(requests) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return draw_bases(parts, plan, spec, requests, *rest)

    monkeypatch.setattr(module, "draw_bases", short)
    requests = [request_for(prompt=prompt, seed=n) for n, prompt in enumerate(PROMPTS * 2)]
    few = drawn(cpu_plan, toy, requests, most=4)
    assert tried == [4, 2, 2, 2]
    assert worst(few, drawn(cpu_plan, toy, requests, most=1)) <= 1


def test_what_draws_nothing_together_is_drawn_again_alone(cpu_plan, toy, request_for, monkeypatch):
    from pixart_cli.diffusion import together

    sample = together.sample_together

    def broken(*args, **kwargs):
        latents = sample(*args, **kwargs)
        latents[1] = torch.nan
        return latents

    monkeypatch.setattr(together, "sample_together", broken)
    requests = [request_for(prompt=prompt, seed=n) for n, prompt in enumerate(PROMPTS)]
    found = drawn(cpu_plan, toy, requests, most=3)
    assert [each.provenance.get("together") for each in found] == [True, None, True]
    assert worst(found, drawn(cpu_plan, toy, requests, most=1)) <= 1
