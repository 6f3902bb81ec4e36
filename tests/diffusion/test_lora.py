"""Every spelling of a LoRA's tensors, and every way in which one does not fit."""

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import TensorEntry
from pixart_cli.diffusion.lora import layers_of
from tests.toy_lora import MODULES, STYLES, matrices, spelled
from tests.toy_model import toy_transformer

MODEL = {key: TensorEntry("F32", tuple(value.shape)) for key, value in toy_transformer().state_dict().items()}


def entries(tensors):
    return {key: TensorEntry("F32", tuple(value.shape)) for key, value in tensors.items()}


@pytest.fixture
def lora():
    """A sound one in the style of kohya, by tensor."""
    return entries(spelled(matrices(toy_transformer()), "kohya", 1.0))


def refusal(lora):
    with pytest.raises(PixartError) as caught:
        layers_of("mine", lora, MODEL)
    assert (caught.value.code, caught.value.exit_code) == ("weights-invalid", 4)
    assert caught.value.message.startswith("LoRA mine: ")
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("style", STYLES)
def test_every_spelling_means_the_same_layers(style):
    layers = layers_of("x", entries(spelled(matrices(toy_transformer()), style, 2.0)), MODEL)
    assert set(layers) == {f"{module}.weight" for module in MODULES}
    assert {layer.rank for layer in layers.values()} == {3}
    assert {key.removesuffix(".weight") for key in layers} == {layer.module for layer in layers.values()}
    down, up, alpha = STYLES[style](MODULES[0])
    layer = layers[f"{MODULES[0]}.weight"]
    assert (layer.down, layer.up, layer.alpha) == (down, up, alpha or None)


def test_names_that_match_nothing_are_named(lora):
    lora["lora_unet_down_blocks_0_attn.lora_down.weight"] = TensorEntry("F32", (3, 8))
    lora["lora_unet_down_blocks_0_attn.lora_up.weight"] = TensorEntry("F32", (8, 3))
    message = refusal(lora)
    assert "2 of its tensors match nothing" in message
    assert "lora_unet_down_blocks_0_attn.lora_down.weight" in message


@pytest.mark.parametrize(
    "key",
    ["transformer_blocks.0.attn1.to_q.lora_B.bias", "proj_out.diff", "proj_out.weight", "nonsense", ".alpha",
     "transformer_blocks.0.norm1.alpha", "proj_out.bias.lora_A.weight"],
)  # fmt: skip
def test_any_other_tensor_is_refused(lora, key):
    assert key in refusal(lora | {key: TensorEntry("F32", (1,))})


def test_the_same_layer_in_two_spellings_is_refused(lora):
    twice = lora | entries(spelled(matrices(toy_transformer()), "peft"))
    assert "match nothing" in refusal(twice)


def test_nothing_is_no_lora():
    assert "no layers" in refusal({})


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("base_model.model.transformer_blocks.0.attn1.to_q.lora_magnitude_vector", "DoRA"),
        ("base_model.model.transformer_blocks.0.attn1.to_q.lora_magnitude_vector.default.weight", "DoRA"),
        ("lora_unet_transformer_blocks_0_attn1_to_q.dora_scale", "DoRA"),
        ("lycoris_transformer_blocks_0_attn1_to_q.hada_w1_a", "LoHa"),
        ("lycoris_transformer_blocks_0_attn1_to_q.lokr_w1", "LoKr"),
        ("lora_unet_pos_embed_proj.lora_mid.weight", "LoCon"),
        ("text_encoder.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", "text encoder"),
        ("lora_te_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight", "text encoder"),
    ],
)
def test_other_kinds_are_refused_by_name(lora, key, kind):
    message = refusal(lora | {key: TensorEntry("F32", (3,))})
    assert kind in message
    assert key[:40] in message


@pytest.mark.parametrize("part", ["lora_down", "lora_up"])
def test_half_a_layer_is_refused(lora, part):
    del lora[f"lora_unet_proj_out.{part}.weight"]
    assert f"the {part.removeprefix('lora_')} matrix of proj_out.weight is missing" in refusal(lora)


@pytest.mark.parametrize(
    ("part", "shape"),
    [("down", (3, 25)), ("down", (4, 24)), ("up", (33, 3)), ("up", (32, 4)), ("down", (0, 24)), ("down", ()),
     ("up", ()), ("up", (32,)), ("down", (24,))],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_said(lora, part, shape):
    message = refusal(lora | {f"lora_unet_proj_out.lora_{part}.weight": TensorEntry("F32", shape)})
    assert "proj_out.weight is 32x24, which" in message


def test_matrices_are_numbers_and_alpha_is_one(lora):
    whole = lora["lora_unet_proj_out.lora_up.weight"].shape
    assert "no matrices" in refusal(lora | {"lora_unet_proj_out.lora_up.weight": TensorEntry("I64", whole)})
    assert "no matrices" in refusal(lora | {"lora_unet_proj_out.alpha": TensorEntry("F32", (2,))})
    assert layers_of("x", lora | {"lora_unet_proj_out.alpha": TensorEntry("F32", (1,))}, MODEL)
