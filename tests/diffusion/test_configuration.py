"""Configurations: known classes pass, everything else is refused before it is built."""

import json

import pytest

from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.configuration import check_config, check_model_index, check_scheduler, overlay
from pixart_cli.diffusion.header import TensorEntry

BLOCKS = {f"transformer_blocks.{i}.norm.weight": TensorEntry("F32", (4,)) for i in range(3)}


def refusal(call, *arguments):
    with pytest.raises(PixartError) as caught:
        call(*arguments)
    assert caught.value.code == "weights-invalid"
    return caught.value.message


def test_the_released_index_passes(tmp_path):
    index = {
        "_class_name": "PixArtSigmaPipeline",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": [None, None],
        "transformer": ["diffusers", "Transformer2DModel"],
    }
    path = tmp_path / "model_index.json"
    path.write_text(json.dumps(index))
    check_model_index(path)
    path.write_text(json.dumps(index | {"vae": ["diffusers_modules", "AutoencoderKL"]}))
    assert "vae" in refusal(check_model_index, path)


def test_our_own_class_is_known_by_its_own_library(tmp_path):
    ours = {
        "_class_name": "PixArtSigmaPipeline",
        "transformer": ["pixart_cli", "PixArtSigmaTransformer2DModel"],
    }
    path = tmp_path / "model_index.json"
    path.write_text(json.dumps(ours))
    check_model_index(path)
    path.write_text(json.dumps(ours | {"transformer": ["diffusers", "PixArtSigmaTransformer2DModel"]}))
    assert "transformer" in refusal(check_model_index, path)
    check_config(
        "transformer", tmp_path, {"_class_name": "PixArtSigmaTransformer2DModel", "num_layers": 3}, BLOCKS
    )


def test_as_many_blocks_as_the_weights_hold(tmp_path):
    check_config("transformer", tmp_path, {"num_layers": 3}, BLOCKS)
    assert "3" in refusal(check_config, "transformer", tmp_path, {"num_layers": 4}, BLOCKS)
    assert "class" in refusal(check_config, "transformer", tmp_path, {"_class_name": "Evil"}, BLOCKS)


@pytest.mark.parametrize(
    "change",
    [
        {"layers_per_block": 9},
        {"norm_num_groups": 0},
        {"sample_size": "wide"},
        {"block_out_channels": []},
        {"block_out_channels": "many"},
        {"scaling_factor": None},
        {"scaling_factor": "x"},
        {"scaling_factor": 0},
        {"scaling_factor": float("nan")},
        {"shift_factor": "x"},
    ],
)
def test_numbers_have_bounds(tmp_path, change):
    assert next(iter(change)) in refusal(check_config, "vae", tmp_path, change, {})


def test_the_catalogue_knows_better_and_refuses_another_models_size():
    spec = get_model("sigma-256")
    merged = overlay({"sample_size": 32, "num_layers": 28, "interpolation_scale": 1}, spec)
    assert merged["interpolation_scale"] == 0.5
    assert merged["num_layers"] == 28
    assert "sample_size" in refusal(overlay, {"sample_size": 128}, spec)


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("transformer", {"cross_attention_dim": 10**9}),
        ("transformer", {"num_attention_heads": 4, "attention_head_dim": 4}),
        ("text_encoder", {"vocab_size": 10**9}),
        ("vae", {"block_out_channels": [4, 10**9]}),
    ],
)
def test_nothing_wider_than_the_weights_is_built(tmp_path, component, change):
    name = {"transformer": "transformer_blocks.0.x", "text_encoder": "encoder.block.0.x", "vae": "x"}
    header = {name[component]: TensorEntry("F32", (4, 8)), "empty": TensorEntry("F32", (10**9, 0))}
    said = refusal(check_config, component, tmp_path, {"num_layers": 1, **change}, header)
    assert "widest tensor is 8" in said
    fits = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 4, "out_channels": 8}
    check_config(component, tmp_path, fits, header)


@pytest.mark.parametrize(
    "change",
    [
        {"beta_start": "x"},
        {"beta_end": float("inf")},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": 10**10},
        {"steps_offset": None},
        {"beta_schedule": "evil"},
        {"prediction_type": ["epsilon"]},
        {"timestep_spacing": 1},
        {"trained_betas": 0.1},
        {"trained_betas": [0.1, "x"]},
    ],
)
def test_a_noise_schedule_that_nothing_can_be_built_from_is_refused(tmp_path, change):
    released = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}
    check_scheduler(tmp_path, released | {"trained_betas": None})
    assert next(iter(change)) in refusal(check_scheduler, tmp_path, released | change)


@pytest.mark.parametrize(
    ("config", "dtype", "name"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "BF16", "(bitsandbytes)"),
        ({"quantization_config": "gptq"}, "BF16", "on the disk"),
        ({}, "I8", "on the disk"),
        ({}, "U8", "on the disk"),
    ],
)
def test_weights_that_were_stored_quantised_are_told_from_damaged_ones(tmp_path, config, dtype, name):
    header = {"encoder.block.0.layer.0.SelfAttention.q.weight": TensorEntry(dtype, (4, 4))}
    message = refusal(check_config, "text_encoder", tmp_path, config | {"num_layers": 1}, header)
    assert "quantised" in message
    assert name in message
    plain = {name: TensorEntry("F8_E4M3", entry.shape) for name, entry in header.items()}
    check_config("text_encoder", tmp_path, {"num_layers": 1}, plain)
