"""PixArt-α and its few-step kin at toy size, each of its own configuration, against diffusers' pipeline."""

import numpy as np
import pytest
import torch
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from PIL import Image

from pixart_cli.cli.app import run
from pixart_cli.core.catalog import get_model
from pixart_cli.core.metadata import read_record
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import renderer
from pixart_cli.diffusion.sampling import draw_noise
from pixart_cli.diffusion.weights import locate
from tests.toy_model import VARIANTS, build_toy_alpha

STEPS = {"alpha-512": 3, "alpha-1024": 2, "lcm": 4, "dmd": 1}
THEIR_OPTIONS = {"lcm": {"guidance_scale": 0.0}, "dmd": {"guidance_scale": 1.0, "timesteps": [400]}}


@pytest.fixture(scope="module", params=list(VARIANTS))
def variant(request, tmp_path_factory):
    """(name, folder) of one toy."""
    return request.param, build_toy_alpha(tmp_path_factory.mktemp("models") / request.param, request.param)


def request_for(name, installed):
    spec = installed.spec
    return GenerationRequest(
        prompt="a red sun over the sea", negative_prompt="black hill", model=installed.name, seed=7,
        width=spec.native, height=spec.native, num_inference_steps=STEPS[name],
        guidance_scale=spec.default_guidance, scheduler=spec.default_scheduler,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pixels(variant, cpu_plan):
    """What our loop draws with the toy, in floats, as it is handed to the resampler."""
    name, folder = variant
    installed = locate(str(folder))
    seen, original = [], renderer.resample
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "resample", lambda px, *a, **k: seen.append(px) or original(px, *a, **k))
        engine = renderer.NetworkRenderer(cpu_plan, installed)
        list(engine.render([request_for(name, installed)], on_progress=lambda event: None))
    return seen[0]


def test_a_folder_draws_as_its_kind_does(variant):
    name, folder = variant
    spec, row = locate(str(folder)).spec, get_model(name)
    assert (spec.native, spec.max_tokens) == (row.native, row.max_tokens)
    assert (spec.default_steps, spec.default_guidance) == (row.default_steps, row.default_guidance)
    assert (spec.default_scheduler, spec.timesteps) == (row.default_scheduler, row.timesteps)
    assert (spec.refine, spec.distilled) == (row.refine, row.distilled)
    assert spec.transformer_config == dict(row.transformer_config)


def test_the_loop_equals_diffusers_alpha_pipeline(variant, pixels):
    name, folder = variant
    request = request_for(name, locate(str(folder)))
    pipeline = PixArtAlphaPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(7)
    noise = draw_noise(generator, 4, request.width, request.height)
    options = {"guidance_scale": 4.5, "num_inference_steps": STEPS[name]} | THEIR_OPTIONS.get(name, {})
    theirs = pipeline(
        request.prompt, negative_prompt=request.negative_prompt, width=request.width, height=request.height,
        latents=noise, generator=generator, output_type="np", use_resolution_binning=False,
        clean_caption=False, **options,
    ).images[0]  # fmt: skip
    assert np.abs(pixels - theirs).max() < 1e-4
    assert pixels.std() > 0.01


def test_gen_draws_with_the_folder(variant, pixels, tmp_path, monkeypatch):
    name, folder = variant
    monkeypatch.chdir(tmp_path)
    few = [] if name in ("lcm", "dmd") else ["--steps", str(STEPS[name])]
    words = ["gen", "a red sun over the sea", "--negative", "black hill", "-s", "7", "-m", str(folder)]
    assert run([*words, *few, "--memory", "full", "--device", "cpu", "-q", "-o", "x.png"]) == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert np.array_equal(np.asarray(picture), np.rint(pixels * 255).astype(np.uint8))
    request = read_record(tmp_path / "x.png").request
    assert (request.num_inference_steps, request.scheduler) == (
        STEPS[name],
        get_model(name).default_scheduler,
    )
