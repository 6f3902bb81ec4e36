"""A picture that starts from another, against a plain loop with diffusers' own classes."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from PIL import Image

from pixart_cli.core.catalog import RefineSettings
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import renderer as module
from pixart_cli.diffusion.init_image import read_init_image
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.sampling import draw_noise
from pixart_cli.diffusion.weights import locate
from tests.toy_model import BETAS

TRAILING = {"timestep_spacing": "trailing"}
THEIRS = {
    "dpm++": lambda: DPMSolverMultistepScheduler(**BETAS),
    "euler": lambda: EulerDiscreteScheduler(**BETAS, **TRAILING),
    "ddim": lambda: DDIMScheduler(**BETAS, **TRAILING, clip_sample=False),
    "unipc": lambda: UniPCMultistepScheduler(**BETAS),
    "lcm": lambda: LCMScheduler(**BETAS, clip_sample=False),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory, small_bin):
    """A picture of the bin's own size, in colours and with an edge."""
    width, height = small_bin
    path = tmp_path_factory.mktemp("pictures") / "start.png"
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns % 256, rows % 256, 255 * (columns > rows)], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def starting(request, path, strength):
    parent, _ = read_init_image(path)
    changed = dataclasses.replace(request, init_image=parent.sha256, strength=strength)
    return changed, {parent.sha256: path}


def draw(plan, installed, request, files):
    """(rendering, float pixels)."""
    seen, original = [], module.resample
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "resample", lambda px, *a, **k: seen.append(px.copy()) or original(px, *a, **k))
        engine = NetworkRenderer(plan, installed, files=files)
        (rendering,) = engine.render([request], on_progress=lambda event: None)
    return rendering, seen[0]


@torch.no_grad()
def reference(folder, request, path, scheduler):
    """diffusers' networks and scheduler, put together as its image-to-image pipelines are."""
    pipeline = PixArtSigmaPipeline.from_pretrained(folder, use_safetensors=True)
    embeds, mask, negative, negative_mask = pipeline.encode_prompt(
        request.prompt, negative_prompt=request.negative_prompt, clean_caption=False
    )
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.asarray(picture, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    source = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    steps, strength = request.num_inference_steps, request.strength
    if isinstance(scheduler, LCMScheduler):
        scheduler.set_timesteps(steps, strength=strength)
        timesteps = scheduler.timesteps
    else:
        scheduler.set_timesteps(steps)
        first = max(steps - min(int(steps * strength), steps), 0)
        timesteps = scheduler.timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
    generator = torch.Generator().manual_seed(request.seed)
    noise = draw_noise(generator, 4, request.width, request.height)
    latents = scheduler.add_noise(source, noise, timesteps[:1])
    extra = {"generator": generator} if isinstance(scheduler, LCMScheduler) else {}
    for timestep in timesteps:
        inputs = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        noise_pred = pipeline.transformer(
            inputs, encoder_hidden_states=torch.cat([negative, embeds]), timestep=timestep.expand(2),
            encoder_attention_mask=torch.cat([negative_mask, mask]),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample.chunk(2, dim=1)[0]  # fmt: skip
        uncond, text = noise_pred.chunk(2)
        guided = uncond + request.guidance_scale * (text - uncond)
        latents = scheduler.step(guided, timestep, latents, **extra, return_dict=False)[0]
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return (decoded[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("name", THEIRS)
def test_the_loop_equals_a_plain_one(name, strength, toy, toy_folder, cpu_plan, request_for, start):
    request = request_for(num_inference_steps=8, scheduler=name, negative_prompt="black square")
    request, files = starting(request, start, strength)
    rendering, ours = draw(cpu_plan, toy, request, files)
    theirs = reference(toy_folder, request, start, THEIRS[name]())
    assert np.abs(ours - theirs).max() < 1e-4
    assert ours.std() > 0.01
    assert rendering.request == request


def test_at_full_strength_next_to_nothing_of_it_is_left(toy, cpu_plan, request_for, start):
    request = request_for(num_inference_steps=10)
    plain = draw(cpu_plan, toy, request, {})[1]
    half, whole = (draw(cpu_plan, toy, *starting(request, start, strength))[1] for strength in (0.5, 1.0))
    assert np.abs(whole - plain).max() < 0.01
    assert np.abs(half - plain).mean() > 0.05


def test_less_strength_stays_nearer(cpu_plan, request_for, tmp_path):
    mini = locate("mini")
    picture = Image.new("RGB", (256, 256), (230, 120, 40))
    picture.paste((30, 60, 160), (0, 150, 256, 256))
    picture.save(tmp_path / "x.png")
    before = np.asarray(picture, np.float32) / 255
    asked = request_for(prompt="a white moon over a green hill", width=256, height=256, num_inference_steps=5)
    apart = [
        float(np.abs(draw(cpu_plan, mini, *starting(asked, tmp_path / "x.png", strength))[1] - before).mean())
        for strength in (0.2, 0.6, 1.0)
    ]
    assert apart == sorted(apart)
    assert apart[0] < 0.05 < apart[2]


def test_the_steps_that_are_made_are_told(toy, cpu_plan, request_for, start):
    request, files = starting(request_for(num_inference_steps=10), start, 0.3)
    events = []
    list(NetworkRenderer(cpu_plan, toy, files=files).render([request], on_progress=events.append))
    assert [(e.step, e.total) for e in events if e.stage == "denoise"] == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("refine", ["direct", "1"])
def test_it_grows_and_is_sampled_whole_as_any_other(refine, toy, cpu_plan, request_for, start):
    settings = RefineSettings(strengths=(0.8,), steps=(2,))
    quick = dataclasses.replace(toy, spec=dataclasses.replace(toy.spec, refine=settings))
    request, files = starting(request_for(width=608, height=432, refine=refine), start, 0.5)
    rendering, _ = draw(cpu_plan, quick, request, files)
    facts = rendering.provenance
    assert rendering.pixels.size == (608, 432)
    assert facts["drawn"] == ([608, 432] if refine == "direct" else facts["bin"])
    assert len(facts["refine"]) == (0 if refine == "direct" else 1)


@pytest.mark.parametrize(("device", "offload"), [("cpu", "low"), ("cpu:0", "offload"), ("cpu:0", "low")])
def test_every_memory_plan_draws_the_same(device, offload, toy, cpu_plan, request_for, start):
    request, files = starting(request_for(), start, 0.5)
    plan = dataclasses.replace(cpu_plan, device=device, offload=offload)
    first, second = (draw(each, toy, request, files)[0].pixels for each in (cpu_plan, plan))
    assert np.array_equal(np.asarray(first), np.asarray(second))


def test_a_picture_that_is_not_at_hand_or_another_is_refused_before_drawing(
    toy, cpu_plan, request_for, start, tmp_path
):
    request, _ = starting(request_for(), start, 0.5)
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    wrong = {request.init_image: tmp_path / "other.png"}
    for place, code in (({}, "init-image-missing"), (wrong, "init-image-invalid")):
        events = []
        with pytest.raises(PixartError) as caught:
            list(NetworkRenderer(cpu_plan, toy, files=place).render([request], on_progress=events.append))
        assert (caught.value.code, events) == (code, [])
