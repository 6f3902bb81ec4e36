"""SDXL and Stable Cascade at toy size: what diffusers' own loading and pipelines draw."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import peers
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.peers import PeerRenderer
from pixart_cli.diffusion.rungs import TOGETHER
from pixart_cli.diffusion.weights import Installed, locate
from tests.toy_peers import install_peer

REQUEST = GenerationRequest(
    prompt="a red sun over a blue sea", model="sdxl", width=1024, height=1024, num_inference_steps=2,
    guidance_scale=5.0, scheduler="euler", seed=7,
)  # fmt: skip
CASCADE = dataclasses.replace(REQUEST, model="cascade", scheduler="wuerstchen", guidance_scale=4.0)
WIDE = {"width": 1024, "height": 256}


@pytest.fixture
def installed(toy_peers: dict[str, Path]) -> dict[str, Installed]:
    for model, toy in toy_peers.items():
        install_peer(model, toy)
    return {model: small(locate(model)) for model in toy_peers}


def small(found: Installed) -> Installed:
    """As found, but drawn at the bins of 256 pixels: the toys are quick there."""
    return dataclasses.replace(found, spec=dataclasses.replace(found.spec, native=256))


@pytest.fixture
def plan(cpu_plan: MemoryPlan) -> MemoryPlan:
    return dataclasses.replace(cpu_plan, encoder=TOGETHER)


def drawn(renderer: PeerRenderer, request: GenerationRequest) -> Any:
    (rendering,) = renderer.render([request], on_progress=lambda _: None)
    return rendering


def test_sdxl_is_what_diffusers_draws(
    toy_peers: dict[str, Path], installed: dict[str, Installed], plan: MemoryPlan
) -> None:
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )

    request = dataclasses.replace(REQUEST, negative_prompt="a moon", **WIDE)
    theirs = StableDiffusionXLPipeline.from_pretrained(str(toy_peers["sdxl"]), add_watermarker=False)
    theirs.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 128 // 8, 512 // 8, generator=torch.Generator().manual_seed(7))
    expected = theirs(
        request.prompt, negative_prompt="a moon", width=512, height=128, num_inference_steps=2,
        guidance_scale=5.0, latents=noise, output_type="np",
    ).images[0]  # fmt: skip
    pixels, precisions = PeerRenderer(plan, installed["sdxl"]).draw_native(request)
    assert precisions == {"unet": "float32", "vae": "float32"}
    assert pixels.shape == (128, 512, 3)
    assert np.abs(pixels.numpy() - expected).max() < 1e-4


def test_cascade_is_what_diffusers_draws(
    toy_peers: dict[str, Path], installed: dict[str, Installed], plan: MemoryPlan
) -> None:
    from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
    from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import StableCascadeDecoderPipeline
    from diffusers.pipelines.stable_cascade.pipeline_stable_cascade_prior import StableCascadePriorPipeline
    from diffusers.schedulers.scheduling_ddpm_wuerstchen import DDPMWuerstchenScheduler
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    folder = toy_peers["cascade"]
    text = {
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "text_encoder": CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder"),
        "scheduler": DDPMWuerstchenScheduler(),
    }
    first = StableCascadePriorPipeline(prior=StableCascadeUNet.from_pretrained(folder / "prior"), **text)
    second = StableCascadeDecoderPipeline(
        decoder=StableCascadeUNet.from_pretrained(folder / "decoder"),
        vqgan=PaellaVQModel.from_pretrained(folder / "vqgan"), **text,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(7)
    small = first(
        CASCADE.prompt, width=256, height=256, num_inference_steps=2, generator=generator
    ).image_embeddings
    expected = second(small, CASCADE.prompt, num_inference_steps=10, generator=generator, output_type="np")
    pixels, precisions = PeerRenderer(plan, installed["cascade"]).draw_native(CASCADE)
    assert precisions == {"prior": "float32", "decoder": "float32", "vqgan": "float32"}
    assert np.abs(pixels.numpy() - expected.images[0]).max() < 1e-4


@pytest.mark.parametrize("request_", [REQUEST, CASCADE], ids=["sdxl", "cascade"])
def test_a_picture_of_the_size_asked_for_the_same_again_and_with_its_record(
    installed: dict[str, Installed], plan: MemoryPlan, request_: GenerationRequest
) -> None:
    request = dataclasses.replace(request_, width=300, height=100)
    one, again = (drawn(PeerRenderer(plan, installed[request.model]), request) for _ in range(2))
    assert one.pixels.size == (300, 100)
    assert one.pixels.tobytes() == again.pixels.tobytes()
    other = drawn(PeerRenderer(plan, installed[request.model]), dataclasses.replace(request, seed=8))
    assert other.pixels.tobytes() != one.pixels.tobytes()
    facts = one.provenance
    assert (facts["family"], facts["rng"], facts["delivered"]) == (request.model, "cpu-float32", [300, 100])
    assert facts["weights"] == installed[request.model].revision
    assert "text_encoder" not in facts
    assert not str(facts).count("/tmp")


def test_what_a_prompt_loses_is_said_and_once(
    installed: dict[str, Installed], plan: MemoryPlan, capfd: pytest.CaptureFixture[str]
) -> None:
    renderer = PeerRenderer(plan, installed["sdxl"])
    long = dataclasses.replace(REQUEST, prompt="a red sun " * 60 + "hill", num_inference_steps=1, **WIDE)
    capfd.readouterr()
    assert "not read: " in drawn(renderer, long).warnings[0]
    assert capfd.readouterr().err == ""
    assert drawn(renderer, dataclasses.replace(long, prompt="hill")).warnings == ()


def test_memory_that_runs_out_is_tried_again_with_less(
    installed: dict[str, Installed], plan: MemoryPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    class Hungry:
        def __init__(self, parts: Any) -> None:
            self.parts = parts

        def draw(self, *_: Any) -> Any:
            tries.append(self.parts.plan.offload)
            if len(tries) < 3:
                raise torch.OutOfMemoryError
            return torch.rand(64, 256, 3), {}

    monkeypatch.setattr(peers, "_PIPELINES", {"sdxl": Hungry})
    renderer = PeerRenderer(plan, installed["sdxl"])
    facts = drawn(renderer, REQUEST).provenance
    assert tries == ["full", "offload", "low"]
    assert facts["memory"] == "low"
    assert facts["memory_ran_out"] == ["full, encoder together", "offload, encoder together"]
    tries.clear()
    renderer.plan = dataclasses.replace(renderer.plan, offload="low")
    with pytest.raises(PixartError) as caught:
        drawn(renderer, REQUEST)
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize("offload", ["offload", "low"])
@pytest.mark.parametrize("request_", [REQUEST, CASCADE], ids=["sdxl", "cascade"])
def test_the_smaller_plans_draw_the_same_picture(
    installed: dict[str, Installed], plan: MemoryPlan, request_: GenerationRequest, offload: str
) -> None:
    request = dataclasses.replace(request_, num_inference_steps=1, width=256, height=256)
    # For the plan this is no processor: the networks and their blocks come and go.
    elsewhere = dataclasses.replace(plan, device="cpu:0")
    whole = drawn(PeerRenderer(elsewhere, installed[request.model]), request)
    renderer = PeerRenderer(dataclasses.replace(elsewhere, offload=offload), installed[request.model])
    less = [drawn(renderer, request) for _ in range(2)]
    assert renderer.plan.tried == ()
    assert [each.pixels.tobytes() for each in less] == [whole.pixels.tobytes()] * 2


@pytest.mark.parametrize("request_", [REQUEST, CASCADE], ids=["sdxl", "cascade"])
def test_weights_that_draw_nothing_are_no_picture(
    installed: dict[str, Installed], plan: MemoryPlan, request_: GenerationRequest
) -> None:
    renderer = PeerRenderer(plan, installed[request_.model])
    request = dataclasses.replace(request_, num_inference_steps=1, **WIDE)
    drawn(renderer, request)
    assert renderer._parts is not None
    network = renderer._parts.network({"sdxl": "unet", "cascade": "decoder"}[request.model])
    with torch.inference_mode():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(PixartError) as caught:
        drawn(renderer, request)
    assert (caught.value.code, caught.value.exit_code) == ("picture-invalid", 6)


@pytest.mark.parametrize("request_", [REQUEST, CASCADE], ids=["sdxl", "cascade"])
def test_a_folder_as_diffusers_saves_it_draws_the_same(
    toy_peers: dict[str, Path],
    installed: dict[str, Installed],
    plan: MemoryPlan,
    tmp_path: Path,
    request_: GenerationRequest,
) -> None:
    folder = shutil.copytree(toy_peers[request_.model], tmp_path / "mine")
    if request_.model == "cascade":
        index = {"_class_name": "StableCascadeCombinedPipeline"}
        (folder / "model_index.json").write_text(json.dumps(index))
        (folder / "prior").rename(folder / "prior_prior")
    mine = small(locate(str(folder)))
    assert mine.revision.startswith("sha256:")
    assert mine.spec.family == request_.model
    request = dataclasses.replace(request_, num_inference_steps=1, width=256, height=256)
    pictures = [drawn(PeerRenderer(plan, each), request) for each in (mine, installed[request.model])]
    assert pictures[0].pixels.tobytes() == pictures[1].pixels.tobytes()
    for component in ("vqgan", "vae", "scheduler"):
        shutil.rmtree(folder / component, ignore_errors=True)
    with pytest.raises(PixartError) as caught:
        locate(str(folder))
    assert caught.value.code == "model-missing"
