"""Everything the engine computes on another device stays on it; no GPU is needed to see."""

import dataclasses

import pytest
import torch

from pixart_cli.core.catalog import RefineSettings
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.device import RUNGS
from pixart_cli.diffusion.refine import Refinement, refine
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample, sample_from
from pixart_cli.diffusion.tiled_decode import decode_exact, encode_exact
from pixart_cli.diffusion.weights import locate
from tests.diffusion.elsewhere import Elsewhere
from tests.toy_model import BETAS, build_toy_model, toy_transformer, toy_vae


@pytest.fixture(autouse=True)
def device():
    with Elsewhere():
        yield


def test_the_stand_in_tells_devices_apart():
    there = torch.empty(3, device="meta")
    assert torch.equal((there + torch.tensor(1.0)).cpu(), torch.tensor([0.25, 0.5, 0.75]))
    with pytest.raises(RuntimeError, match="mixes devices"):
        there + torch.ones(3)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="mixes devices"):
        torch.nn.functional.linear(there, torch.ones(3, 3))


@pytest.mark.parametrize("rung", RUNGS, ids=" ".join)
def test_a_picture_with_passes_is_drawn_on_every_rung(toy, cpu_plan, request_for, small_bin, rung):
    plan = dataclasses.replace(cpu_plan, device="meta", dtype="bfloat16", offload=rung[0], encoder=rung[1])
    width, height = (side * 5 // 4 // 16 * 16 + 16 for side in small_bin)
    request = request_for(width=width, height=height, num_inference_steps=1, refine="auto")
    quick = RefineSettings(strengths=(0.8,), steps=(2,))
    installed = dataclasses.replace(toy, spec=dataclasses.replace(toy.spec, refine=quick))
    (rendering,) = NetworkRenderer(plan, installed).render([request], on_progress=lambda event: None)
    assert rendering.provenance["refine"]
    assert rendering.provenance["transformer_dtype"] == "bfloat16"


def test_micro_conditions_and_compression(tmp_path, cpu_plan, request_for):
    folder = build_toy_model(tmp_path / "toy", sample_size=128, use_additional_conditions=True)
    installed = locate(str(folder))
    plan = dataclasses.replace(cpu_plan, device="meta")
    request = request_for(model=installed.name, width=256, height=256, refine="direct", kv_compression="2")
    (rendering,) = NetworkRenderer(plan, installed).render([request], on_progress=lambda event: None)
    assert rendering.provenance["kv_compression"]["ratio"] == 2


@pytest.mark.parametrize("rule", schedulers.RULES)
def test_every_rule_samples_and_refines(rule):
    network = toy_transformer().to("meta").eval()
    stochastic = schedulers.RULES[rule].stochastic
    generator = torch.Generator().manual_seed(1)
    told = {
        "embeds": (torch.zeros(1, 16), torch.zeros(5, 16)), "on_step": lambda done, of: None,
    }  # fmt: skip
    whole = schedulers.build(rule, BETAS, 3, device="meta")
    noise = draw_noise(generator, 4, 128, 128).to("meta")
    guidance = Guidance(scale=4.5)
    drawn = sample(
        network, whole, guidance=guidance, latents=noise, generator=generator if stochastic else None, **told
    )  # fmt: skip
    rest = schedulers.build_rest(rule, BETAS, 3, 0.7, device="meta")
    started = sample_from(network, rest, guidance=guidance, source=noise, generator=generator, **told)
    tail = schedulers.build_tail(rule, BETAS, 3, 0.8, device="meta")
    how = Refinement(side=16, guidance_scale=4.5, guidance_until=0.5, flat=0.1)
    source = torch.zeros(1, 4, 16, 24).to("meta")
    refined = refine(network, tail, source=source, how=how, generator=generator, **told)
    assert {each.device.type for each in (drawn, started, refined)} == {"meta"}


@pytest.mark.parametrize("storage", ["device", "pinned", "mapped"])
def test_bands_wait_anywhere(storage):
    vae = toy_vae().to("meta", torch.bfloat16).eval()
    pixels = decode_exact(vae, torch.empty(1, 4, 16, 16, device="meta"), storage=storage)
    moments = encode_exact(vae, torch.empty(1, 3, 32, 32, device="meta"), storage=storage)
    assert (pixels.device.type, moments.device.type) == ("meta", "meta")
