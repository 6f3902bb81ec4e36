"""Configurations: known classes pass, everything else is refused before it is built."""

import json

import pytest

from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.configuration import check_config, check_model_index, overlay
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
