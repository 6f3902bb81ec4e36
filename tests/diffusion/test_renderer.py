"""The whole engine on the toy: against diffusers' own pipeline, and through everything that can go wrong."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from safetensors.torch import load_file, save_file

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import spell
from pixart_cli.diffusion.device import RUNGS
from pixart_cli.diffusion.embeds import EmbedsCache, kept
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.sampling import draw_noise
from pixart_cli.diffusion.weights import locate
from tests.toy_lora import MODULES, matrices, save_lora, spelled
from tests.toy_model import build_toy_model, toy_transformer


def draw(plan, installed, *requests):
    renderer = NetworkRenderer(plan, installed)
    return list(renderer.render(requests, on_progress=lambda event: None))


def pixels_of(rendering):
    return np.asarray(rendering.pixels)


def decoded(plan, installed, request, monkeypatch):
    """The float pixels of `request`, as the renderer hands them to the resampler."""
    seen = []
    from pixart_cli.diffusion import renderer

    original = renderer.resample
    with monkeypatch.context() as patch:
        patch.setattr(
            renderer, "resample", lambda px, *a, **k: seen.append(px.copy()) or original(px, *a, **k)
        )
        draw(plan, installed, request)
    return seen[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"negative_prompt": "A Blue Square"},
        {"guidance_scale": 1.0},
        {"prompt": "Red moon over a XYZZY sea"},
    ],
    ids=["plain", "negative", "unguided", "unknown word"],
)
def test_equals_diffusers_pipeline(toy, toy_folder, cpu_plan, request_for, monkeypatch, changes):
    request = request_for(**changes)
    ours = decoded(cpu_plan, toy, request, monkeypatch)
    pipeline = PixArtSigmaPipeline.from_pretrained(toy_folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = draw_noise(torch.Generator("cpu").manual_seed(7), 4, request.width, request.height)
    theirs = pipeline(
        request.prompt, negative_prompt=request.negative_prompt, width=request.width, height=request.height,
        num_inference_steps=3, guidance_scale=request.guidance_scale, latents=noise, output_type="np",
        use_resolution_binning=False, clean_caption=False,
    ).images[0]  # fmt: skip
    assert np.abs(ours - theirs).max() < 1e-5


def test_alpha_micro_conditions_equal_diffusers(tmp_path, cpu_plan, request_for, monkeypatch):
    folder = build_toy_model(tmp_path / "alpha", sample_size=128, use_additional_conditions=True)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "PixArtAlphaPipeline"}))
    installed = locate(str(folder))
    assert installed.spec.native == 1024
    # A size that is no bin of 1024 would not be drawn natively, so the toy is asked as a 256 model here.
    installed = dataclasses.replace(installed, spec=dataclasses.replace(installed.spec, native=256))
    request = request_for()
    ours = decoded(cpu_plan, installed, request, monkeypatch)
    pipeline = PixArtAlphaPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = draw_noise(torch.Generator("cpu").manual_seed(7), 4, request.width, request.height)
    theirs = pipeline(
        request.prompt, negative_prompt="", width=request.width, height=request.height,
        num_inference_steps=3, guidance_scale=4.5, latents=noise, output_type="np",
        use_resolution_binning=False, clean_caption=False,
    ).images[0]  # fmt: skip
    assert np.abs(ours - theirs).max() < 1e-5


def test_pixels_do_not_depend_on_company(toy, cpu_plan, request_for):
    first = request_for(scheduler="euler-a")
    second = request_for(prompt="green hill over the sea, black mountain", seed=8)
    alone = [draw(cpu_plan, toy, request)[0] for request in (first, second)]
    together = draw(cpu_plan, toy, second, first)
    assert np.array_equal(pixels_of(alone[0]), pixels_of(together[1]))
    assert np.array_equal(pixels_of(alone[1]), pixels_of(together[0]))
    assert not np.array_equal(pixels_of(alone[0]), pixels_of(alone[1]))


def test_delivers_any_size_and_says_how(toy, cpu_plan, request_for):
    (rendering,) = draw(cpu_plan, toy, request_for(width=400, height=300))
    assert rendering.pixels.size == (400, 300)
    assert rendering.pixels.mode == "RGB"
    facts = rendering.provenance
    assert facts["native"] == 256
    assert facts["delivered"] == [400, 300]
    assert facts["resample"]["factor"] == pytest.approx(
        max(400 / facts["bin"][0], 300 / facts["bin"][1]), abs=1e-6
    )
    assert json.loads(json.dumps(facts)) == facts
    assert facts["device"] == "cpu"
    assert facts["dtype"] == facts["transformer_dtype"] == facts["vae_dtype"] == "float32"
    assert facts["weights"].startswith("sha256:")
    assert str(toy.parts["vae"].parent) not in json.dumps(facts)


def test_a_native_size_is_not_resampled(toy, cpu_plan, request_for):
    (rendering,) = draw(cpu_plan, toy, request_for())
    assert rendering.provenance["resample"]["method"] == "none"
    assert rendering.seconds > 0


def test_kv_compression_draws_another_picture_and_is_recorded(toy, cpu_plan, request_for):
    renderer = NetworkRenderer(cpu_plan, toy)
    asked = [request_for(kv_compression=value) for value in ("off", "2", "auto", "2", "off")]
    off, pooled, auto, again, last = renderer.render(asked, on_progress=lambda event: None)
    expected = {"sampling": "pool", "ratio": 2, "layers": [1], "qk_norm": False}
    assert pooled.provenance["kv_compression"] == again.provenance["kv_compression"] == expected
    # Automatic begins at 7 tokens a channel, and the toy has 24 channels.
    assert auto.provenance["kv_compression"] == expected
    assert [picture.provenance["kv_compression"] for picture in (off, last)] == ["off", "off"]
    assert all(np.array_equal(pixels_of(pooled), pixels_of(other)) for other in (auto, again))
    assert np.array_equal(pixels_of(off), pixels_of(last))
    assert not np.array_equal(pixels_of(off), pixels_of(pooled))


def test_a_lora_changes_the_picture_and_is_recorded_by_its_hash(toy, cpu_plan, request_for, tmp_path):
    path = save_lora(tmp_path / "mine.safetensors", spelled(matrices(toy_transformer()), "kohya", 2.0))
    lora = find_lora(f"{path}:0.5")
    renderer = NetworkRenderer(cpu_plan, toy, files={lora.recorded.sha256: path})
    asked = [request_for(lora=text) for text in ("", spell([lora.recorded]), "")]
    plain, changed, again = renderer.render(asked, on_progress=lambda event: None)
    assert np.array_equal(pixels_of(plain), pixels_of(again))
    assert not np.array_equal(pixels_of(plain), pixels_of(changed))
    recorded = {"sha256": lora.recorded.sha256, "scale": 0.5, "layers": len(MODULES)}
    assert changed.provenance["lora"] == [recorded]
    assert "lora" not in plain.provenance
    assert str(path) not in json.dumps(changed.provenance)
    for offload in ("offload", "low"):
        plan = dataclasses.replace(cpu_plan, device="cpu:0", offload=offload)
        other = NetworkRenderer(plan, toy, files=renderer.files)
        (rendering,) = other.render(asked[1:2], on_progress=lambda event: None)
        assert np.array_equal(pixels_of(rendering), pixels_of(changed))


def test_a_lora_that_does_not_fit_is_refused_before_anything_is_loaded(toy, cpu_plan, request_for, tmp_path):
    wide = {"proj_out.lora_A.weight": torch.ones(2, 1152), "proj_out.lora_B.weight": torch.ones(32, 2)}
    lora = find_lora(str(save_lora(tmp_path / "wide.safetensors", wide)))
    request, files = request_for(lora=spell([lora.recorded])), {lora.recorded.sha256: lora.path}
    for given, code in ((files, "weights-invalid"), ({}, "lora-missing")):
        events = []
        with pytest.raises(PixartError) as caught:
            list(NetworkRenderer(cpu_plan, toy, files=given).render([request], on_progress=events.append))
        assert (caught.value.code, events) == (code, [])


def test_a_lora_is_there_again_after_memory_ran_out(toy, cpu_plan, request_for, tmp_path):
    lora = find_lora(str(save_lora(tmp_path / "x.safetensors", spelled(matrices(toy_transformer()), "peft"))))
    files, request = {lora.recorded.sha256: lora.path}, request_for(lora=spell([lora.recorded]))
    (before,) = NetworkRenderer(cpu_plan, toy, files=files).render([request], on_progress=lambda event: None)
    renderer = NetworkRenderer(cpu_plan, toy, files=files)
    list(renderer.render([request_for(num_inference_steps=1)], on_progress=lambda event: None))
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Exhausted(MemoryError(), 1))
    try:
        (after,) = renderer.render([request], on_progress=lambda event: None)
    finally:
        hook.remove()
    assert renderer.plan.offload == "offload"
    assert np.array_equal(pixels_of(before), pixels_of(after))


def test_a_model_trained_with_compression_draws_with_its_own(tmp_path, cpu_plan, request_for):
    own = {"sampling": "conv", "ratio": 2, "layers": [1], "qk_norm": False}
    installed = locate(str(build_toy_model(tmp_path / "model", kv_compression=own)))
    pictures = draw(
        cpu_plan, installed, *(request_for(kv_compression=value) for value in ("off", "auto", "2"))
    )
    assert [picture.provenance["kv_compression"] for picture in pictures] == [own] * 3
    assert all(np.array_equal(pixels_of(pictures[0]), pixels_of(other)) for other in pictures)
    with pytest.raises(PixartError, match="trained with"):
        draw(cpu_plan, installed, request_for(kv_compression="4"))


def test_progress_tells_every_stage_in_order(toy, cpu_plan, request_for):
    events = []
    renderer = NetworkRenderer(cpu_plan, toy)
    list(renderer.render([request_for(width=300), request_for(seed=8, width=300)], on_progress=events.append))
    stages = list(dict.fromkeys((event.index, event.stage) for event in events))
    assert stages == [
        (0, "load"), (0, "encode"), (0, "denoise"), (0, "decode"), (0, "resize"),
        (1, "denoise"), (1, "decode"), (1, "resize"),
    ]  # fmt: skip
    assert [e.step for e in events if e.stage == "denoise" and e.index == 1] == [0, 1, 2, 3]
    assert {e.total for e in events if e.stage == "encode"} == {2}
    again = []
    list(renderer.render([request_for(seed=9)], on_progress=again.append))
    assert {event.stage for event in again} == {"denoise", "decode"}


def test_unknown_words_and_cut_prompts_are_named(toy, cpu_plan, request_for):
    prompt = "a Zeppelin over the sea, zeppelin! " + "red sun " * 30
    (rendering,) = draw(cpu_plan, toy, request_for(prompt=prompt))
    unknown, cut = sorted(rendering.warnings, key=lambda text: "32 tokens" in text)
    assert unknown.endswith("never taught: zeppelin")
    assert cut.endswith("red sun")
    assert not draw(cpu_plan, toy, request_for())[0].warnings


def test_a_warning_quotes_the_beginning_of_what_is_long(toy, cpu_plan, request_for):
    (rendering,) = draw(cpu_plan, toy, request_for(prompt="zeppelin" * 8000))
    assert all(len(warning) < 600 and warning.endswith("…") for warning in rendering.warnings)
    assert rendering.warnings


def keeping(plan, installed):
    """A renderer that keeps what it embeds, as one for a large encoder does."""
    return NetworkRenderer(plan, installed, cache=EmbedsCache(installed, kept(1_000_000)))


def draw_watched(renderer, *requests):
    """Renderings, the stages of progress, and whether the text encoder was in memory at any of them."""
    stages, loaded = [], []

    def watch(event):
        stages.append(event.stage)
        loaded.append(renderer._components is not None and renderer._components.is_loaded("text_encoder"))

    return list(renderer.render(requests, on_progress=watch)), stages, any(loaded)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_second_picture_of_a_prompt_needs_no_text_encoder(toy, cpu_plan, request_for, dtype):
    plan = dataclasses.replace(cpu_plan, dtype=dtype)
    (plain,) = draw(plan, toy, request_for())
    (first,), stages, loaded = draw_watched(keeping(plan, toy), request_for())
    assert (stages.count("encode"), loaded) == (2, True)
    (second,), stages, loaded = draw_watched(keeping(plan, toy), request_for())
    assert ("encode" in stages, loaded) == (False, False)
    for rendering in (first, second):
        assert np.array_equal(pixels_of(plain), pixels_of(rendering))
        assert rendering.provenance == plain.provenance


def test_what_is_kept_has_the_bits_of_what_is_computed(toy, cpu_plan, request_for):
    plain, first, second = NetworkRenderer(cpu_plan, toy), keeping(cpu_plan, toy), keeping(cpu_plan, toy)
    for renderer in (plain, first, second):
        list(renderer.render([request_for(negative_prompt="fog")], on_progress=lambda event: None))
    assert set(plain._embeds) == {"a red sun", "fog"}
    for text, embeds in plain._embeds.items():
        for other in (first._embeds[text], second._embeds[text]):
            assert torch.equal(embeds.view(torch.uint8), other.view(torch.uint8))


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no list of mapped files")
def test_no_file_of_the_text_encoder_is_mapped_the_second_time(toy, cpu_plan, request_for):
    def mapped():
        return str(toy.parts["text_encoder"]) in Path("/proc/self/maps").read_text()

    seen = []
    for _ in range(2):
        renderer = keeping(dataclasses.replace(cpu_plan, offload="low"), toy)
        found = []
        list(renderer.render([request_for()], on_progress=lambda _event, found=found: found.append(mapped())))
        seen.append(any(found))
    assert seen == [True, False]


def test_only_new_prompts_are_encoded(toy, cpu_plan, request_for):
    draw_watched(keeping(cpu_plan, toy), request_for())
    again = keeping(cpu_plan, toy)
    _, stages, loaded = draw_watched(again, request_for(), request_for(prompt="a blue sea", seed=8))
    assert (stages.count("encode"), loaded) == (1, True)


def test_a_cache_that_cannot_be_written_changes_nothing(toy, cpu_plan, request_for):
    kept(1).folder.parent.mkdir(parents=True)
    kept(1).folder.write_text("a file stands in the way")
    for _ in range(2):
        (rendering,), stages, _ = draw_watched(keeping(cpu_plan, toy), request_for())
        assert stages.count("encode") == 2
    assert np.array_equal(pixels_of(rendering), pixels_of(draw(cpu_plan, toy, request_for())[0]))


def test_memory_that_runs_out_while_encoding_leaves_a_whole_cache(toy, cpu_plan, request_for):
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Exhausted(MemoryError(), 1))
    try:
        draw_watched(keeping(cpu_plan, toy), request_for())
    finally:
        hook.remove()
    _, stages, _ = draw_watched(keeping(dataclasses.replace(cpu_plan, offload="offload"), toy), request_for())
    assert "encode" not in stages
    assert kept(1_000_000).contents().entries == 2


def broken_copy(toy_folder, tmp_path, component, change):
    """A copy of the toy whose weights of `component` are `change`d."""
    folder = tmp_path / "broken"
    shutil.copytree(toy_folder, folder)
    path = next((folder / component).glob("*.safetensors"))
    state = load_file(path)
    change(state)
    save_file(state, path)
    return locate(str(folder))


@pytest.mark.parametrize("offload", ["full", "offload", "low"])
def test_transformer_that_overflows_in_half_is_run_in_float32(
    toy_folder, tmp_path, cpu_plan, request_for, offload
):
    installed = broken_copy(
        toy_folder, tmp_path, "transformer", lambda s: s["caption_projection.linear_1.weight"].mul_(6e4)
    )
    half = dataclasses.replace(cpu_plan, dtype="float16", device="cpu:0", offload=offload)
    (rendering,) = draw(half, installed, request_for())
    assert rendering.provenance["transformer_dtype"] == "float32"
    assert rendering.provenance["dtype"] == "float16"


def test_broken_in_every_precision_is_an_error(toy_folder, tmp_path, cpu_plan, request_for):
    installed = broken_copy(toy_folder, tmp_path, "transformer", lambda s: s["proj_out.bias"].fill_(3e38))
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(PixartError) as caught:
            draw(dataclasses.replace(cpu_plan, dtype=dtype), installed, request_for())
        assert caught.value.code == "picture-invalid"


def test_half_precision_draws_nearly_the_same(toy, cpu_plan, request_for):
    exact = pixels_of(draw(cpu_plan, toy, request_for())[0]).astype(float)
    rounded = draw(dataclasses.replace(cpu_plan, dtype="bfloat16"), toy, request_for())[0]
    assert rounded.provenance["vae_dtype"] == "bfloat16"
    assert np.abs(exact - pixels_of(rounded)).mean() < 12


@pytest.mark.parametrize("device", ["cpu", "cpu:0"], ids=["processor", "as an accelerator"])
@pytest.mark.parametrize(("offload", "encoder"), RUNGS[1:])
def test_every_memory_plan_draws_the_same(toy, cpu_plan, request_for, offload, encoder, device):
    # To the plan "cpu:0" is one more device, so weights are sent there and back as to a GPU.
    full = draw(cpu_plan, toy, request_for())[0]
    lower = dataclasses.replace(cpu_plan, device=device, offload=offload, encoder=encoder)
    other = draw(lower, toy, request_for())[0]
    assert np.array_equal(pixels_of(full), pixels_of(other))
    assert (other.provenance["memory"], other.provenance["text_encoder"]) == (offload, encoder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_encoder_that_is_streamed_gives_the_bits_of_a_whole_one(toy, cpu_plan, request_for, dtype):
    found = []
    for encoder in ("whole", "streamed"):
        # Nothing has to be finite here: the toy's own VAE in half precision is not what is asked.
        renderer = NetworkRenderer(dataclasses.replace(cpu_plan, dtype=dtype, encoder=encoder), toy)
        list(renderer.render([request_for(negative_prompt="sea")], on_progress=lambda event: None))
        found.append(renderer._embeds)
    assert set(found[0]) == {"a red sun", "sea"}
    for text, embeds in found[0].items():
        assert embeds.dtype is found[1][text].dtype is getattr(torch, dtype)
        assert torch.equal(embeds.view(torch.uint8), found[1][text].view(torch.uint8))


class Exhausted:
    """Stands before a network's forward and runs out of memory the first `times` times."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    def __call__(self, *_):
        if self.times:
            self.times -= 1
            raise self.error


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: 99 bytes"
    ),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "python", "cpu"])
def test_out_of_memory_steps_the_plan_down(toy, cpu_plan, request_for, error):
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Exhausted(error, 1))
    try:
        renderer = NetworkRenderer(cpu_plan, toy)
        (rendering,) = renderer.render([request_for()], on_progress=lambda event: None)
    finally:
        hook.remove()
    assert renderer.plan.encoder == rendering.provenance["text_encoder"] == "streamed"
    assert rendering.provenance["memory_ran_out"] == ["full, encoder whole"]
    assert "Memory ran out" in renderer.plan.reasons[-1]
    assert np.array_equal(pixels_of(rendering), pixels_of(draw(cpu_plan, toy, request_for())[0]))


def test_out_of_memory_while_drawing_steps_to_what_spares_that(toy, cpu_plan, request_for):
    class OfTransformer(Exhausted):
        def __call__(self, module, *_):
            if type(module).__name__ == "AdaLayerNormSingle":
                super().__call__()

    error = OfTransformer(torch.OutOfMemoryError("CUDA out of memory"), 2)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(error)
    try:
        (rendering,) = draw(cpu_plan, toy, request_for())
    finally:
        hook.remove()
    facts = rendering.provenance
    assert (facts["memory"], facts["text_encoder"]) == ("low", "streamed")
    assert facts["memory_ran_out"] == ["full, encoder whole", "offload, encoder streamed"]
    assert np.array_equal(pixels_of(rendering), pixels_of(draw(cpu_plan, toy, request_for())[0]))


def test_out_of_memory_in_every_plan_is_an_error(toy, cpu_plan, request_for):
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Exhausted(MemoryError(), 99))
    try:
        with pytest.raises(PixartError) as caught:
            draw(cpu_plan, toy, request_for())
    finally:
        hook.remove()
    assert caught.value.code == "out-of-memory"


def test_other_runtime_errors_are_bugs(toy, cpu_plan, request_for):
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Exhausted(RuntimeError("shape"), 1))
    try:
        with pytest.raises(RuntimeError, match="shape"):
            draw(cpu_plan, toy, request_for())
    finally:
        hook.remove()


def test_library_settings_are_left_as_found(toy, cpu_plan, request_for):
    before = torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    draw(cpu_plan, toy, request_for(scheduler="dpm++-sde"))
    assert torch.are_deterministic_algorithms_enabled() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
