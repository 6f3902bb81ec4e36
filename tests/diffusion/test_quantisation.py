"""The text encoder in 8 and 4 bits: how far from exact, how much smaller, and what is refused.

The class is T5's own, gated as PixArt's, at toy size; what a full-size one takes is in docs/performance.md.
"""

import dataclasses
import shutil

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import quantisation
from pixart_cli.diffusion.embeds import EmbedsCache, kept
from pixart_cli.diffusion.memory import encoding
from pixart_cli.diffusion.pipeline import load_network, load_quantised
from pixart_cli.diffusion.quantisation import check_device, check_library, check_widths
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.rungs import IN_BITS
from pixart_cli.diffusion.weights import locate
from tests.toy_model import build_toy_model

TOKENS = torch.tensor([[5, 6, 9, 12, 7, 11, 1]])
# Relative error of the embeddings against float32; seen were 0.016 and 0.16, in bfloat16 0.017 and 0.16.
BOUNDS = {8: 0.03, 4: 0.25}


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """A toy whose text encoder is as wide as what is quantised together."""
    return build_toy_model(tmp_path_factory.mktemp("models") / "wide", encoder_width=256)


@pytest.fixture(scope="module")
def wide(wide_folder):
    return locate(str(wide_folder))


def plan_in(cpu_plan, bits, **changes):
    return dataclasses.replace(cpu_plan, encoder=IN_BITS.get(bits, "whole"), **changes)


def installed_library():
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (pixart-cli[quant])")


def bytes_of(network):
    return sum(each.numel() * each.element_size() for each in (*network.parameters(), *network.buffers()))


def embeds_of(encoder):
    with torch.inference_mode():
        return encoder(TOKENS).last_hidden_state.float()


def network_in(installed, plan):
    folder = installed.parts["text_encoder"]
    if plan.encoder_bits < 16:
        return load_quantised(folder, plan)
    return load_network("text_encoder", folder, spec=installed.spec, dtype=getattr(torch, plan.dtype))


# ── what needs no library ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bits", [8, 4])
def test_a_missing_library_is_named_with_the_way_to_install_it(monkeypatch, bits):
    monkeypatch.setattr(quantisation, "LIBRARY", "no-such-library")
    with pytest.raises(
        PixartError, match=f"--encoder-bits {bits} needs no-such-library, which is not"
    ) as caught:
        check_library(bits)
    assert (caught.value.code, caught.value.exit_code) == ("extra-missing", 2)
    assert "pip install 'pixart-cli[quant]'" in caught.value.hint
    check_library(16)


def test_an_old_library_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setattr(quantisation, "LIBRARY", "pytest")
    monkeypatch.setattr(quantisation, "OLDEST", (9, 0))
    check_library(8)
    monkeypatch.setattr(quantisation, "OLDEST", (99, 1))
    with pytest.raises(PixartError, match=r"needs pytest 99\.1 or newer; .* is installed"):
        check_library(8)


def test_apples_gpu_is_refused_with_what_to_do():
    with pytest.raises(PixartError, match="cannot be used on mps") as caught:
        check_device(8, "mps")
    assert caught.value.exit_code == 2
    assert "block by block, exactly" in caught.value.hint
    for bits, device in ((16, "mps"), (8, "cuda:1"), (4, "cpu")):
        check_device(bits, device)


def test_layers_that_cannot_be_cut_are_refused_by_their_width(toy, wide):
    from transformers.models.t5.configuration_t5 import T5Config

    check_widths(T5Config.from_pretrained(wide.parts["text_encoder"]), 4)
    with pytest.raises(PixartError, match="layers 16 wide"):
        check_widths(T5Config.from_pretrained(toy.parts["text_encoder"]), 4)


def test_weights_quantised_on_the_disk_are_refused_whatever_is_asked(wide_folder, tmp_path, cpu_plan):
    import json

    folder = shutil.copytree(wide_folder, tmp_path / "model") / "text_encoder"
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    installed = locate(str(folder.parent))
    for bits in (16, 8):
        with pytest.raises(PixartError, match=r"quantised on the disk \(bitsandbytes\)") as caught:
            network_in(installed, plan_in(cpu_plan, bits))
        assert caught.value.code == "weights-invalid"
        assert "--encoder-bits" in caught.value.hint


# ── what the library does ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bits", [8, 4])
def test_embeddings_stay_near_and_the_encoder_gets_smaller(wide, cpu_plan, bits, dtype):
    installed_library()
    exact = network_in(wide, cpu_plan)
    reference = embeds_of(exact)
    encoder = network_in(wide, plan_in(cpu_plan, bits, dtype=dtype))
    error = (embeds_of(encoder) - reference).norm() / reference.norm()
    assert 0 < error < BOUNDS[bits]
    unquantised = network_in(wide, dataclasses.replace(cpu_plan, dtype=dtype))
    # A quarter to a third of the weights, `wo` and the words, stay as they are.
    assert bytes_of(encoder) < {8: 0.72, 4: 0.6}[bits] * bytes_of(unquantised)
    kept = [name for name, each in encoder.named_parameters() if each.is_floating_point() and each.ndim == 2]
    assert kept
    assert all("wo" in name or "shared" in name or "bias" in name for name in kept)


def test_fewer_bits_are_smaller_and_farther(wide, cpu_plan):
    installed_library()
    reference = embeds_of(network_in(wide, cpu_plan))
    found = {bits: network_in(wide, plan_in(cpu_plan, bits)) for bits in (8, 4)}
    errors = {bits: (embeds_of(each) - reference).norm() for bits, each in found.items()}
    assert errors[8] < errors[4]
    assert bytes_of(found[4]) < bytes_of(found[8])


@pytest.mark.parametrize("bits", [8, 4])
def test_the_same_twice_and_nothing_is_said(wide, cpu_plan, bits, capfd):
    installed_library()
    plan = plan_in(cpu_plan, bits)
    first, second = (network_in(wide, plan) for _ in range(2))
    with encoding(first, plan, lambda _: torch.float32):
        assert torch.equal(embeds_of(first), embeds_of(second))
    assert capfd.readouterr() == ("", "")


def test_damaged_weights_are_refused_before_they_are_quantised(wide_folder, tmp_path, cpu_plan):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(wide_folder, tmp_path / "model")
    path = folder / "text_encoder" / "model.safetensors"
    state = load_file(path)
    whole = dict(state)
    del state["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(PixartError, match="1 of its tensors are missing"):
        load_quantised(folder / "text_encoder", plan_in(cpu_plan, 8))
    whole["encoder.final_layer_norm.weight"][0] = float("nan")
    save_file(whole, path, metadata={"format": "pt"})
    with pytest.raises(PixartError, match="NaN or infinity"):
        load_quantised(folder / "text_encoder", plan_in(cpu_plan, 8))


def test_shards_are_read_as_well(wide, wide_folder, tmp_path, cpu_plan):
    installed_library()
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    folder = shutil.copytree(wide_folder, tmp_path / "model") / "text_encoder"
    network = T5EncoderModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    again = load_quantised(folder, plan_in(cpu_plan, 8))
    assert torch.equal(embeds_of(again), embeds_of(network_in(wide, plan_in(cpu_plan, 8))))


# ── a picture ────────────────────────────────────────────────────────────────────────────────────


def test_each_number_of_bits_has_entries_of_its_own(wide, cpu_plan):
    installed_library()
    cache, embeds = EmbedsCache(wide, kept(1_000_000)), torch.randn(5, 256)
    plans = [plan_in(cpu_plan, bits) for bits in (16, 8, 4)]
    cache.keep("a red sun", embeds, plans[1])
    found = [cache.holds("a red sun", torch.float32, plan) for plan in plans]
    assert found == [False, True, False]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("offload", ["full", "offload", "low"])
def test_a_picture_is_drawn_and_says_so_on_every_rung(wide, cpu_plan, request_for, bits, offload):
    installed_library()
    request = request_for(text_encoder_bits=bits, num_inference_steps=1)
    plan = plan_in(cpu_plan, bits, offload=offload)
    (rendering,) = NetworkRenderer(plan, wide).render([request], on_progress=lambda event: None)
    facts = rendering.provenance
    assert (facts["text_encoder"], facts["memory"]) == (IN_BITS[bits], offload)
    assert facts["bitsandbytes"]
    assert rendering.warnings == ()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_memory_that_runs_out_while_it_is_quantised_is_known(wide, cpu_plan, request_for, monkeypatch, error):
    installed_library()
    import bitsandbytes

    def full(*_, **__):
        raise error

    monkeypatch.setattr(bitsandbytes.nn.Int8Params, "to", full)
    asked = request_for(text_encoder_bits=8, num_inference_steps=1)
    (rendering,) = NetworkRenderer(plan_in(cpu_plan, 8), wide).render([asked], on_progress=lambda event: None)
    assert rendering.provenance["memory_ran_out"] == ["full, encoder 8-bit"]


def test_a_library_that_does_not_work_here_is_no_bug_of_ours(wide, cpu_plan, monkeypatch, capfd):
    installed_library()
    import bitsandbytes

    def fail(*_, **__):
        raise RuntimeError("Error named symbol not found at line 62 in file /src/csrc/ops.cu")

    monkeypatch.setattr(bitsandbytes.nn.Int8Params, "to", fail)
    with pytest.raises(PixartError, match="named symbol not found") as caught:
        network_in(wide, plan_in(cpu_plan, 8))
    assert caught.value.code == "install-broken"
    assert capfd.readouterr() == ("", "")


class Full:
    """Memory runs out in the first quantised layer of the second text: one is encoded by then."""

    def __init__(self):
        self.calls = 0

    def __call__(self, module, *_):
        if type(module).__name__ == "Linear8bitLt":
            self.calls += 1
            if self.calls == 13:  # after the six layers of either block
                raise torch.OutOfMemoryError("CUDA out of memory")


def test_when_memory_runs_out_the_encoder_is_streamed_and_no_picture_is_told_half_in_each(
    wide, cpu_plan, request_for
):
    installed_library()
    asked = request_for(text_encoder_bits=8, num_inference_steps=1, negative_prompt="a blue sea")
    hook = torch.nn.modules.module.register_module_forward_pre_hook(Full())
    try:
        renderer = NetworkRenderer(plan_in(cpu_plan, 8), wide)
        (rendering,) = renderer.render([asked], on_progress=lambda event: None)
    finally:
        hook.remove()
    facts = rendering.provenance
    assert (facts["text_encoder"], facts["memory"]) == ("streamed", "full")
    assert facts["memory_ran_out"] == ["full, encoder 8-bit"]
    assert "bitsandbytes" not in facts
    assert any("memory ran out in 8 bits" in warning for warning in rendering.warnings)
    exact = dataclasses.replace(asked, text_encoder_bits=16)
    (wanted,) = NetworkRenderer(cpu_plan, wide).render([exact], on_progress=lambda event: None)
    assert rendering.pixels.tobytes() == wanted.pixels.tobytes()
