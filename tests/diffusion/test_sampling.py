"""Noise from the seed and the guided loop, against diffusers in test_renderer; here its own promises."""

import pytest
import torch

from pixart_cli.core.guidance import guided_steps
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.sampling import (
    Guidance,
    draw_noise,
    guided,
    micro_conditions,
    sample,
    sample_from,
    sample_together,
)
from tests.toy_model import toy_transformer

CONFIG = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(2)
    return toy_transformer().eval().requires_grad_(requires_grad=False)


def denoise(transformer, *embeds, guidance=4.5, until=1.0, name="dpm++", seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    steps = []
    latents = sample(
        transformer, schedulers.build(name, CONFIG, 3), embeds=embeds,
        guidance=Guidance(scale=guidance, until=until),
        latents=draw_noise(generator, 4, 48, 32),
        generator=generator if schedulers.RULES[name].stochastic else None,
        on_step=lambda done, total: steps.append((done, total)), **options,
    )  # fmt: skip
    return latents, steps


def test_noise_is_float32_of_the_latents_shape_and_of_the_seed():
    first, again, other = (draw_noise(torch.Generator().manual_seed(s), 4, 48, 32) for s in (5, 5, 6))
    assert first.shape == (1, 4, 4, 6)
    assert first.dtype is torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_large_seeds_are_seeds():
    draw_noise(torch.Generator().manual_seed(2**63 - 1), 4, 16, 16)


def test_steps_are_told_and_latents_stay_float32(transformer):
    half = toy_transformer().to(torch.bfloat16).eval().requires_grad_(requires_grad=False)
    text = torch.randn(5, 16)
    for network in (transformer, half):
        latents, steps = denoise(network, text)
        assert latents.dtype is torch.float32
        assert latents.shape == (1, 4, 4, 6)
        assert steps == [(1, 3), (2, 3), (3, 3)]


def test_guidance_of_one_prompt_with_itself_changes_nothing(transformer):
    text = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    alone, _ = denoise(transformer, text)
    guided_by_itself, _ = denoise(transformer, text, text, guidance=9.0)
    assert torch.allclose(alone, guided_by_itself, rtol=1e-3, atol=1e-3)


def test_lengths_of_the_two_prompts_do_not_mix(transformer):
    generator = torch.Generator().manual_seed(0)
    short, long = torch.randn(2, 16, generator=generator), torch.randn(9, 16, generator=generator)
    first, _ = denoise(transformer, short, long, guidance=0.0)  # 0 is the negative alone
    second, _ = denoise(transformer, short)
    assert torch.allclose(first, second, rtol=1e-3, atol=1e-3)


def test_guided_is_the_papers_equation():
    pair = torch.stack([torch.full((4, 2, 2), 1.0), torch.full((4, 2, 2), 3.0)])
    assert torch.equal(guided(pair, 2.5), torch.full((1, 4, 2, 2), 6.0))
    assert torch.equal(guided(pair[1:], 2.5), pair[1:])


@pytest.mark.parametrize("name", ["dpm++-sde", "euler-a", "lcm"])
def test_noisy_rules_follow_the_seed(transformer, name):
    text = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    first, again, other = (denoise(transformer, text, name=name, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_micro_conditions_are_for_those_who_know_them(transformer):
    latents = torch.zeros(1, 4, 4, 6)
    assert set(micro_conditions(transformer, latents, torch.float32).values()) == {None}
    alpha = toy_transformer(sample_size=128, use_additional_conditions=True)
    told = micro_conditions(alpha, latents, torch.float32)
    assert told["resolution"].tolist() == [[32, 48]]
    assert told["aspect_ratio"].flatten().tolist() == pytest.approx([2 / 3])


def batches(transformer, texts=None, **options):
    """How many branches each step computes."""
    seen = []
    hook = transformer.norm_out.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    generator = torch.Generator().manual_seed(0)
    texts = texts or (torch.randn(1, 16, generator=generator), torch.randn(5, 16, generator=generator))
    latents, _ = denoise(transformer, *texts, **options)
    hook.remove()
    return seen, latents


def test_guidance_can_end_early(transformer):
    seen, whole = batches(transformer)
    assert seen == [2, 2, 2]
    seen, early = batches(transformer, until=2 / 3)
    assert seen == [2, 2, 1]
    assert not torch.equal(whole, early)
    seen, never = batches(transformer, until=0)
    assert seen == [1, 1, 1]
    generator = torch.Generator().manual_seed(0)
    _, text = torch.randn(1, 16, generator=generator), torch.randn(5, 16, generator=generator)
    assert torch.allclose(never, denoise(transformer, text)[0], atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.29, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("total", [1, 10, 30, 100])
def test_so_many_steps_are_guided(share, total):
    guidance = Guidance(scale=4.5, until=share, branches=2)
    seen = [guidance.branches_at(step, total) for step in range(1, total + 1)]
    assert seen == sorted(seen, reverse=True)
    assert seen.count(2) == guided_steps(share, total)


def test_guidance_of_pictures_together_ends_as_of_one_alone(transformer):
    texts = torch.randn(1, 16), torch.randn(5, 16)
    seen, alone = batches(transformer, until=2 / 3, texts=texts)
    noise = draw_noise(torch.Generator().manual_seed(1), 4, 48, 32)
    both = sample_together(
        transformer, schedulers.build("dpm++", CONFIG, 3), embeds=[texts, texts],
        guidance=Guidance(scale=4.5, until=2 / 3), latents=torch.cat([noise, noise]), generators=None,
        on_step=lambda *_: None,
    )  # fmt: skip
    assert seen == [2, 2, 1]
    assert torch.allclose(both, alone.expand(2, -1, -1, -1), atol=1e-4)


def test_from_a_picture_the_share_is_of_the_whole_walk(transformer):
    """Low noise is low noise, wherever one began."""
    tail = schedulers.build_rest("dpm++", CONFIG, 10, 0.5)
    seen = []
    hook = transformer.norm_out.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    sample_from(
        transformer, tail, embeds=(torch.randn(1, 16), torch.randn(5, 16)),
        guidance=Guidance(scale=4.5, until=0.7), source=torch.zeros(1, 4, 4, 6),
        generator=torch.Generator().manual_seed(0), on_step=lambda *_: None,
    )  # fmt: skip
    hook.remove()
    assert seen == [2, 2, 1, 1, 1]


def test_first_block_caching_is_off_unless_asked_for(transformer):
    _, exact = batches(transformer)
    _, never = batches(transformer, first_block=1e-9)
    _, always = batches(transformer, first_block=1e9)
    assert torch.allclose(exact, never, atol=1e-5)
    assert not torch.allclose(exact, always, atol=1e-5)
