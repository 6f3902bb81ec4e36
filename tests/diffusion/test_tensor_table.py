"""The tables of tensors are those that transformers and diffusers build, at toy size and at full size."""

import json
import shutil

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.tensor_table import check_fit, expected_tensors
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

SPEC = catalog()["sigma-256"]
T5_XXL = {
    "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
SDXL_VAE = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
PIXART = {
    "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8,
    "num_layers": 28,
    "cross_attention_dim": 1152, "attention_bias": True, "sample_size": 128, "patch_size": 2,
    "caption_channels": 4096, "norm_type": "ada_norm_single",
}  # fmt: skip
TOY_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3, "vocab_size": 50}
TOY_VAE = {
    "block_out_channels": [8, 16], "norm_num_groups": 4, "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}  # fmt: skip
TOY = {
    "num_attention_heads": 3, "attention_head_dim": 8, "num_layers": 2, "cross_attention_dim": 20,
    "sample_size": 32, "caption_channels": 16,
}  # fmt: skip
CONFIGS = [
    ("text_encoder", T5_XXL),
    ("text_encoder", TOY_T5),
    ("text_encoder", TOY_T5 | {"feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8}),
    ("vae", SDXL_VAE),
    ("vae", TOY_VAE),
    ("vae", TOY_VAE | {"mid_block_add_attention": False, "latent_channels": 16, "use_quant_conv": False}),
    ("vae", {"norm_num_groups": 4}),
    ("transformer", PIXART),
    ("transformer", PIXART | {"use_additional_conditions": False, "sample_size": 256}),
    ("transformer", TOY),
    ("transformer", TOY | {"use_additional_conditions": True, "attention_bias": False, "patch_size": 4}),
    ("transformer", TOY | {"out_channels": None, "caption_channels": None, "in_channels": 16}),
]


def built(name, config):
    builders = {
        "text_encoder": lambda: T5EncoderModel(T5Config.from_dict(config)),
        "vae": lambda: AutoencoderKL.from_config(config),
        "transformer": lambda: PixArtSigmaTransformer2DModel.from_config(config),
    }
    with torch.device("meta"):
        return builders[name]()


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_the_table_is_the_network_s_own(name, config):
    if "block_out_channels" not in config and name == "vae":
        config = config | {"block_out_channels": [64], "norm_num_groups": 32}
    shapes = {key: tuple(value.shape) for key, value in built(name, config).state_dict().items()}
    assert expected_tensors(name, config) == shapes


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vae", TOY_VAE | {"down_block_types": ["AttnDownEncoderBlock2D"] * 2}),
        ("transformer", TOY | {"norm_elementwise_affine": True}),
        ("transformer", TOY | {"kv_compression": {"sampling": "conv", "ratio": 2}}),
        ("transformer", TOY | {"activation_fn": "geglu"}),
        ("text_encoder", TOY_T5 | {"feed_forward_proj": None}),
    ],
)
def test_what_no_table_knows_is_left_to_the_loader(name, config):
    assert expected_tensors(name, config) is None


@pytest.fixture
def copy(toy_folder, tmp_path):
    return shutil.copytree(toy_folder, tmp_path / "toy")


@pytest.mark.parametrize("name", ["text_encoder", "vae", "transformer"])
def test_the_toy_fits(toy_folder, name):
    check_fit(name, toy_folder / name, spec=SPEC)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("transformer", {"sample_size": 64}, "sample_size is 64"),
        ("transformer", {"caption_channels": 8}, "of another shape"),
        ("transformer", {"num_layers": 3}, "num_layers is 3"),
        ("transformer", {"use_additional_conditions": True, "cross_attention_dim": 12}, "of another shape"),
        ("vae", {"layers_per_block": 2}, "are missing"),
        ("vae", {"mid_block_add_attention": False}, "not of this model"),
        ("vae", {"layers_per_block": None}, "cannot be built"),
        ("vae", {"block_out_channels": None}, "cannot be built"),
        ("text_encoder", {"num_heads": "two"}, "of another shape"),
        ("text_encoder", {"num_heads": None}, "cannot be built"),
    ],
)
def test_what_does_not_fit_is_named(copy, name, change, words):
    path = copy / name / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PixartError, match=words) as caught:
        check_fit(name, copy / name, spec=SPEC)
    assert caught.value.code == "weights-invalid"
