"""Merged weights against the network that adds the two matrices while it runs."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import Recorded
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.lora_merge import fit, merged, recorded_files
from pixart_cli.diffusion.pipeline import load
from tests.toy_lora import MODULES, RANK, STYLES, matrices, save_lora, spelled


@pytest.fixture(scope="module")
def weights(toy):
    """The file of the toy's transformer."""
    return toy.parts["transformer"] / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def pairs(toy, cpu_plan):
    """(down, up) by module."""
    return matrices(load(toy, cpu_plan).transformer)


def changed(wish, weights):
    return fit(find_lora(str(wish)), read_header(weights))


def refusal(wish, weights):
    def merge_all():
        change = changed(wish, weights)
        return [change.of(key) for key in change.layers]

    with pytest.raises(PixartError) as caught:
        merge_all()
    assert (caught.value.code, bool(caught.value.hint)) == ("weights-invalid", True)
    return caught.value.message


def output_of(transformer):
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 5, 16, generator=generator)
    conditions = {"resolution": None, "aspect_ratio": None}
    with torch.no_grad():
        return transformer(
            latents, encoder_hidden_states=text, timestep=torch.tensor([500]), added_cond_kwargs=conditions
        ).sample


def adding(transformer, pairs, scale):
    """`transformer` with hooks that add scale · up(down(x)) to what each layer gives."""
    for name, (down, up) in pairs.items():
        module = transformer.get_submodule(name)
        if down.ndim == 4:
            options = {"stride": module.stride, "padding": module.padding}
            module.register_forward_hook(
                lambda _, given, out, d=down, u=up, o=options: (
                    out + scale * torch.conv2d(torch.conv2d(given[0], d, **o), u)
                )
            )
        else:
            module.register_forward_hook(
                lambda _, given, out, d=down, u=up: out + scale * (given[0] @ d.T) @ u.T
            )
    return transformer


@pytest.mark.parametrize("style", STYLES)
def test_merged_is_what_adding_at_run_time_gives(style, toy, cpu_plan, pairs, weights, tmp_path):
    alpha = 2.0 if STYLES[style]("x")[2] else None
    path = save_lora(tmp_path / "x.safetensors", spelled(pairs, style, alpha))
    parts = load(toy, cpu_plan)
    parts.adapt((changed(f"{path}:0.7", weights),))
    found = output_of(parts.transformer)
    factor = 0.7 * (1.0 if alpha is None else alpha / RANK)
    expected = output_of(adding(load(toy, cpu_plan).transformer, pairs, factor))
    assert (found - expected).abs().max() < 1e-5
    assert (found - output_of(load(toy, cpu_plan).transformer)).abs().max() > 1e-2


def test_several_add_up_in_float32_and_round_once(toy, cpu_plan, pairs, weights, tmp_path):
    first = save_lora(tmp_path / "a.safetensors", spelled(pairs, "kohya"))
    second = save_lora(
        tmp_path / "b.safetensors", spelled(matrices(load(toy, cpu_plan).transformer, seed=1), "peft")
    )
    changes = (changed(f"{first}:0.5", weights), changed(f"{second}:-0.25", weights))
    key = f"{MODULES[0]}.weight"
    weight = load_file(weights)[key]
    total = weight + changes[0].of(key) + changes[1].of(key)
    assert torch.allclose(merged(key, weight, changes), total, atol=1e-7)
    half = merged(key, weight.bfloat16(), changes)
    assert half.dtype is torch.float32
    other = "transformer_blocks.0.attn1.to_k.weight"
    assert merged(other, weight, changes) is weight


def test_another_lora_reads_the_weights_anew(toy, cpu_plan, pairs, weights, tmp_path):
    path = save_lora(tmp_path / "x.safetensors", spelled(pairs, "diffusers"))
    parts = load(toy, cpu_plan)
    plain = output_of(parts.transformer)
    changes = (changed(path, weights),)
    parts.adapt(changes)
    assert not torch.equal(output_of(parts.transformer), plain)
    same = parts.transformer
    parts.adapt((changed(path, weights),))
    assert parts.transformer is same
    parts.adapt(())
    assert torch.equal(output_of(parts.transformer), plain)


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"peft_type": "LORA", "r": RANK, "lora_alpha": 6}, 6 / RANK),
        ({"r": RANK, "lora_alpha": 6, "use_rslora": True}, 6 / math.sqrt(RANK)),
        ({"r": RANK, "lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 12}}, 12 / RANK),
        ({"r": RANK, "lora_alpha": 6, "alpha_pattern": {"attn2.to_q": 12}}, 6 / RANK),
        ({}, 1.0),
    ],
    ids=["alpha", "stabilised", "pattern", "other pattern", "nothing"],
)
@pytest.mark.parametrize("stored", [False, True], ids=["beside", "in the header"])
def test_alpha_is_where_peft_and_diffusers_put_it(config, factor, stored, pairs, weights, tmp_path):
    path = tmp_path / "adapter_model.safetensors"
    if stored:
        text = json.dumps({f"transformer.{key}": value for key, value in config.items()})
        save_file(spelled(pairs, "diffusers"), path, metadata={"lora_adapter_metadata": text})
    else:
        save_lora(path, spelled(pairs, "peft"), config)
    down, up = pairs[MODULES[0]]
    assert torch.allclose(changed(path, weights).of(f"{MODULES[0]}.weight"), factor * up @ down, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"lora_alpha": "much"}, "alpha is no number"),
        ({"lora_alpha": True}, "alpha is no number"),
        ({"alpha_pattern": {"a": None}}, "alpha is no number"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "not to be understood"),
        ({"alpha_pattern": []}, "not to be understood"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(config, said, pairs, weights, tmp_path):
    path = save_lora(tmp_path / "adapter_model.safetensors", spelled(pairs, "peft"), config)
    assert said in refusal(path, weights)


def test_a_configuration_that_is_none_is_refused(pairs, weights, tmp_path):
    path = save_lora(tmp_path / "adapter_model.safetensors", spelled(pairs, "peft"), {})
    path.with_name("adapter_config.json").write_text("[")
    assert "adapter_config.json" in refusal(path, weights)


@pytest.mark.parametrize("text", ["[", "3", '{"unet.lora_alpha": 9}'])
def test_a_strange_note_in_the_header_is_passed_over(text, pairs, weights, tmp_path):
    save_file(
        spelled(pairs, "diffusers"), tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": text}
    )
    assert changed(tmp_path / "x.safetensors", weights).config == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_numbers_that_are_none_are_refused(value, pairs, weights, tmp_path):
    pairs[MODULES[0]][0][:] = value
    path = save_lora(tmp_path / "x.safetensors", spelled(pairs, "kohya", 1e4))
    assert "not finite" in refusal(path, weights)
    assert "not finite" in refusal(
        save_lora(tmp_path / "y.safetensors", spelled(pairs, "kohya", float("nan"))), weights
    )


def test_a_file_that_changed_meanwhile_is_refused(pairs, weights, tmp_path):
    path = save_lora(tmp_path / "x.safetensors", spelled(pairs, "kohya"))
    lora = find_lora(str(path))
    save_lora(path, spelled(pairs, "kohya", 2.0))
    with pytest.raises(PixartError, match="changed since"):
        fit(lora, read_header(weights))


def test_files_are_found_by_hash_or_missing(tmp_path):
    wanted = Recorded("a" * 64, 0.5)
    path = tmp_path / "x.safetensors"
    path.touch()
    (found,) = recorded_files([wanted], {"a" * 64: path})
    assert (found.path, found.recorded, found.name) == (path, wanted, "x.safetensors")
    for files in ({}, {"a" * 64: tmp_path / "gone"}):
        with pytest.raises(PixartError, match="a" * 64) as caught:
            recorded_files([wanted], files)
        assert (caught.value.code, caught.value.exit_code) == ("lora-missing", 3)
