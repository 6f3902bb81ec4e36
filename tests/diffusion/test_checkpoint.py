"""The table of names, both ways, and what the tensors tell."""

from pathlib import Path

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.checkpoint import (
    check_shapes,
    names,
    read_anatomy,
    to_diffusers,
    to_original,
)
from tests.original_pixart import Original, positions

FILE = Path("model.pth")
KINDS = {
    "plain": Original(),
    "conv": Original(compression=("conv", 2, (1, 3))),
    "normed": Original(qk_norm=True, compression=("conv", 3, (2,))),
    "micro": Original(micro=True, caption_tokens=120, input_size=128, scale=2.0),
}


def refusal(state):
    with pytest.raises(PixartError) as caught:
        read_anatomy(FILE, state)
    assert (caught.value.code, caught.value.exit_code) == ("weights-invalid", 4)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_holds_every_tensor_once_and_leads_there_and_back(kind):
    original = KINDS[kind]
    state = original.state_dict()
    anatomy = read_anatomy(FILE, state)
    assert names(anatomy).keys() == original.shapes().keys()
    ours = to_diffusers(state, anatomy)
    assert len(ours) == sum(map(len, names(anatomy).values()))
    again = to_original(ours, anatomy)
    assert again.keys() == original.shapes().keys()
    assert all(torch.equal(again[key], state[key]) for key in again)


def test_queries_keys_and_values_are_thirds_and_halves():
    state = KINDS["plain"].state_dict()
    ours = to_diffusers(state, read_anatomy(FILE, state))
    qkv, kv = state["blocks.2.attn.qkv.weight"], state["blocks.2.cross_attn.kv_linear.bias"]
    assert torch.equal(ours["transformer_blocks.2.attn1.to_k.weight"], qkv[48:96])
    assert torch.equal(ours["transformer_blocks.2.attn2.to_v.bias"], kv[48:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_anatomy_is_read_from_the_tensors(kind):
    original = KINDS[kind]
    found = read_anatomy(FILE, original.state_dict())
    assert (found.depth, found.width, found.caption_channels) == (4, 48, 20)
    assert (found.in_channels, found.out_channels, found.patch_size) == (4, 8, 2)
    assert (found.micro_conditions, found.qk_norm) == (original.micro, original.qk_norm)
    expected = original.compression[1:] if original.compression else (1, ())
    assert (found.conv_ratio, found.conv_layers) == expected
    assert found.caption_tokens == original.caption_tokens
    assert (found.tokens_per_side, found.interpolation_scale) == (original.input_size // 2, original.scale)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0, 8.0, 1.5, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_scale_is_read_from_the_position_embedding(scale, dtype):
    state = Original(input_size=32, scale=scale).state_dict()
    state["pos_embed"] = state["pos_embed"].to(dtype)
    found = read_anatomy(FILE, state).interpolation_scale
    # 0.1 turns the first wave more than once: it is not guessed. bfloat16 tells no odd scale.
    if scale in (0.1, 1.5):
        assert found is None or found == pytest.approx(scale, rel=1e-2)
    else:
        assert found == scale


def test_a_position_embedding_that_is_none_tells_only_its_length_or_nothing():
    state = Original().state_dict()
    state["pos_embed"] = torch.zeros(1, 64, 48)
    assert read_anatomy(FILE, state).tokens_per_side == 8
    assert read_anatomy(FILE, state).interpolation_scale is None
    for strange in (
        torch.zeros(1, 65, 48),
        torch.zeros(64, 48),
        torch.zeros(1, 64, 24),
        torch.zeros(1, 1, 48),
    ):
        state["pos_embed"] = strange
        assert read_anatomy(FILE, state).tokens_per_side is None
    del state["pos_embed"], state["y_embedder.y_embedding"]
    assert read_anatomy(FILE, state).caption_tokens is None


def test_the_reference_positions_are_those_of_the_grid():
    table = positions(2, 3, 8, 16, 2.0)
    # Row 1, column 2: the column stands at 2 / (3 / 16) / 2, the row at 1 / (2 / 16) / 2.
    expected = torch.tensor([16 / 3]).sin(), torch.tensor([4.0]).cos()
    assert table[5, 0].item() == pytest.approx(expected[0].item(), abs=1e-6)
    assert table[5, 6].item() == pytest.approx(expected[1].item(), abs=1e-6)


@pytest.mark.parametrize(
    "key",
    ["x_embedder.proj.weight", "final_layer.linear.weight", "y_embedder.y_proj.fc1.weight", "t_block.1.bias",
     "blocks.3.mlp.fc2.bias", "blocks.1.attn.sr.bias", "blocks.1.attn.norm.weight"],
)  # fmt: skip
def test_a_missing_tensor_is_named(key):
    state = KINDS["conv"].state_dict()
    del state[key]
    assert key in refusal(state)


@pytest.mark.parametrize(
    "key",
    ["cfg_embedder.mlp.0.weight", "blocks.0.attn.rel_pos_h", "blocks.0.attn.sr2.weight", "lora.up",
     "blocks.x.mlp.fc1.weight", "blocks.0.attn.q_linear.weight", "scale_shift_table"],
)  # fmt: skip
def test_an_unknown_tensor_is_named(key):
    state = KINDS["plain"].state_dict() | {key: torch.zeros(2)}
    assert "not known" in (message := refusal(state))
    assert key in message


def test_a_block_far_away_is_no_deep_network():
    state = KINDS["plain"].state_dict() | {"blocks.99999999999.mlp.fc1.bias": torch.zeros(2)}
    assert "blocks.99999999999.mlp.fc1.bias" in refusal(state)


@pytest.mark.parametrize(
    ("key", "shape"),
    [("x_embedder.proj.weight", (48, 4)), ("x_embedder.proj.weight", (0, 4, 2, 2)),
     ("final_layer.linear.weight", (32,)), ("blocks.1.attn.sr.weight", (48, 1)),
     ("y_embedder.y_embedding", ())],
)  # fmt: skip
def test_a_tensor_that_cannot_be_measured_is_named(key, shape):
    state = KINDS["conv"].state_dict() | {key: torch.zeros(shape)}
    assert key in refusal(state)


def test_layers_of_several_ratios_and_of_ratio_one_are_refused():
    state = KINDS["conv"].state_dict()
    state["blocks.1.attn.sr.weight"] = torch.zeros(48, 1, 3, 3)
    assert "[2, 3]" in refusal(state)
    for layer in (1, 3):
        state[f"blocks.{layer}.attn.sr.weight"] = torch.zeros(48, 1, 1, 1)
    assert "one ratio from 2 on" in refusal(state)


def test_diffusers_own_names_are_told_as_such():
    state = KINDS["plain"].state_dict()
    state |= to_diffusers(state, read_anatomy(FILE, state))
    assert "already" in refusal(state)


def test_a_wrong_shape_is_named_as_the_authors_do():
    state = KINDS["plain"].state_dict()
    anatomy = read_anatomy(FILE, state)
    expected = {key: value.shape for key, value in to_diffusers(state, anatomy).items()}
    check_shapes(FILE, state, anatomy, expected)
    state["blocks.2.attn.qkv.bias"] = torch.zeros(96)
    with pytest.raises(PixartError, match=r"1 of its tensors have another shape: blocks\.2\.attn\.qkv\.bias"):
        check_shapes(FILE, state, anatomy, expected)
