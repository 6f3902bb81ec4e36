"""KV compression against a plain reference, written from its description and not from the module."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from pixart_cli.diffusion.kv_compression import (
    SAMPLINGS,
    KVCompression,
    attach,
    compress,
    deep_layers,
    detach,
    ratio_for,
    tokens_left,
)

WIDTH, HEADS = 12, 3


def reference_tokens(x, grid, sampling, ratio, weights):
    """Keys or values, token by token: x (N, C) in rows of `grid` → (M, C)."""
    height, width = grid
    if sampling == "uniform_every":
        return torch.stack([x[i] for i in range(0, len(x), ratio)])
    at = {(row, column): x[row * width + column] for row in range(height) for column in range(width)}
    if sampling == "uniform":
        return torch.stack([at[i, j] for i in range(0, height, ratio) for j in range(0, width, ratio)])
    if sampling == "ave":
        rows, columns = range(height // ratio), range(width // ratio)
        return torch.stack([at[ratio * i, ratio * j] for i in rows for j in columns])
    found = []
    for top in range(0, height, ratio):
        for left in range(0, width, ratio):
            window = [(i, j) for i in range(ratio) for j in range(ratio) if (top + i, left + j) in at]
            if sampling == "pool":
                found.append(sum(at[top + i, left + j] for i, j in window) / len(window))
            elif len(window) == ratio**2:
                terms = (weights["sr.weight"][:, 0, i, j] * at[top + i, left + j] for i, j in window)
                found.append(normed(sum(terms) + weights["sr.bias"], weights, "norm"))
    return torch.stack(found)


def normed(x, weights, name):
    """LayerNorm over the last axis, PyTorch's default eps."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5) ** 0.5 * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def reference_attention(x, grid, weights, *, heads, sampling="conv", ratio=1):
    """The whole self-attention of one sequence (N, C), in plain sums: softmax(Q Kᵀ/√d) V, head by head."""
    query, key, value = (x @ weights[f"to_{n}.weight"].T + weights[f"to_{n}.bias"] for n in "qkv")
    if "q_norm.weight" in weights:
        query, key = normed(query, weights, "q_norm"), normed(key, weights, "k_norm")
    if ratio > 1:
        key, value = (reference_tokens(each, grid, sampling, ratio, weights) for each in (key, value))
    out = []
    for q, k, v in zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True):
        scores = q @ k.T / q.shape[1] ** 0.5
        weight = (scores - scores.max(1, keepdim=True).values).exp()
        out.append(weight / weight.sum(1, keepdim=True) @ v)
    return torch.cat(out, 1) @ weights["to_out.0.weight"].T + weights["to_out.0.bias"]


def attention(sampling, ratio, *, qk_norm=False, random=True):
    torch.manual_seed(0)
    attn = Attention(query_dim=WIDTH, heads=HEADS, dim_head=WIDTH // HEADS, bias=True)
    attach(attn, KVCompression(sampling=sampling, ratio=ratio, layers=(0,), qk_norm=qk_norm), 0)
    if random:
        for parameter in attn.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return attn.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("qk_norm", [False, True], ids=["plain", "qk_norm"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("grid", "ratio"), [((4, 6), 2), ((5, 7), 2), ((9, 7), 3), ((4, 4), 4), ((3, 5), 1)])
def test_attention_equals_the_reference(sampling, grid, ratio, qk_norm):
    attn = attention(sampling, ratio, qk_norm=qk_norm)
    x = torch.randn(2, grid[0] * grid[1], WIDTH)
    ours = attn(x, grid=grid) if ratio > 1 or qk_norm else attn(x)
    weights = attn.state_dict()
    for mine, tokens in zip(ours, x, strict=True):
        theirs = reference_attention(tokens, grid, weights, heads=HEADS, sampling=sampling, ratio=ratio)
        assert (mine - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("sampling", "left"),
    [("conv", 2 * 3), ("ave", 2 * 3), ("uniform", 3 * 4), ("uniform_every", 18), ("pool", 3 * 4)],
)
def test_what_is_left_of_five_rows_of_seven(sampling, left):
    attn = attention(sampling, 2)
    assert compress(attn, torch.randn(1, 35, WIDTH), (5, 7), sampling, 2).shape == (1, left, WIDTH)


def test_the_convolution_starts_as_an_average_and_the_norm_as_one():
    attn = attention("conv", 2, random=False)
    assert attn.sr.weight.shape == (WIDTH, 1, 2, 2)
    assert (attn.sr.kernel_size, attn.sr.stride, attn.sr.groups) == ((2, 2), (2, 2), WIDTH)
    assert attn.sr.weight.unique().tolist() == [0.25]
    assert attn.sr.bias.abs().max() == 0
    assert attn.norm.weight.unique().tolist() == [1]
    assert attn.norm.eps == 1e-5
    x = torch.randn(1, 24, WIDTH)
    pooled = compress(attn, x, (4, 6), "pool", 2)
    assert torch.allclose(compress(attn, x, (4, 6), "conv", 2), attn.norm(pooled), atol=1e-5)


def test_a_picture_of_equal_tokens_is_pooled_without_loss():
    attn = attention("pool", 3)
    x = torch.randn(1, 1, WIDTH).expand(1, 35, WIDTH)
    assert torch.allclose(attn(x, grid=(5, 7)), attn(x[:, :1], grid=(1, 1)).expand_as(x), atol=1e-5)


def test_masks_unknown_grids_and_nothing_left_are_refused():
    attn = attention("conv", 2)
    x = torch.randn(1, 24, WIDTH)
    with pytest.raises(ValueError, match="mask"):
        attn(x, attention_mask=torch.zeros(1, 1, 24), grid=(4, 6))
    with pytest.raises(ValueError, match="known grid"):
        attn(x)
    with pytest.raises(ValueError, match="no grid of 4 x 5"):
        attn(x, grid=(4, 5))
    with pytest.raises(ValueError, match="leaves nothing"):
        attn(x, grid=(1, 24))


def test_an_uncompressed_layer_with_qk_norm_takes_a_mask():
    attn = attention("conv", 1, qk_norm=True)
    x = torch.randn(1, 8, WIDTH)
    mask = torch.tensor([[[0.0] * 5 + [-10000.0] * 3]])
    first = attn(x, attention_mask=mask)
    x[:, 5:] += 1
    assert torch.allclose(first[:, :5], attn(x, attention_mask=mask)[:, :5], atol=1e-5)


def test_detach_takes_everything_away():
    attn = attention("conv", 2, qk_norm=True)
    keys = set(attn.state_dict())
    detach(attn)
    gone = {key.split(".")[0] for key in keys - set(attn.state_dict())}
    assert gone == {"sr", "norm", "q_norm", "k_norm"}
    assert attn(torch.randn(1, 8, WIDTH)).shape == (1, 8, WIDTH)


def test_attached_modules_have_the_precision_of_their_neighbours():
    attn = Attention(query_dim=WIDTH, heads=HEADS, dim_head=4, bias=True).to(torch.bfloat16)
    attach(attn, KVCompression(sampling="conv", ratio=2, layers=(0,), qk_norm=True), 0)
    assert {parameter.dtype for parameter in attn.parameters()} == {torch.bfloat16}
    assert attn(torch.randn(1, 24, WIDTH, dtype=torch.bfloat16), grid=(4, 6)).dtype is torch.bfloat16


def test_the_deep_half_is_the_papers_layers():
    assert deep_layers(28) == tuple(range(14, 28))
    assert deep_layers(5) == (2, 3, 4)


def test_a_configuration_survives_its_dictionary():
    found = KVCompression.of({"sampling": "conv", "ratio": 2}, 28)
    assert found == KVCompression(sampling="conv", ratio=2, layers=tuple(range(14, 28)))
    assert KVCompression.of(found.to_dict(), 28) == found
    assert [found.ratio_of(layer) for layer in (0, 13, 14, 27)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": "average"},
        {"ratio": 0},
        {"ratio": 17},
        {"ratio": 2.0},
        {"ratio": True},
        {"layers": [28]},
        {"layers": [-1]},
        {"layers": ["1"]},
        {"qk_norm": 1},
        {"scale_factor": 2},
    ],
    ids=str,
)
def test_a_configuration_that_is_none_is_refused(change):
    with pytest.raises(ValueError, match=r"\w"):
        KVCompression.of({"sampling": "conv", "ratio": 2, **change}, 28)


def test_a_configuration_names_its_sampling_and_ratio():
    with pytest.raises(ValueError, match="missing"):
        KVCompression.of({"sampling": "conv"}, 28)


@pytest.mark.parametrize(
    ("setting", "tokens", "ratio"),
    [
        ("off", 65536, 1),
        ("3", 16, 3),
        ("auto", 4096, 1),
        ("auto", 8063, 1),
        ("auto", 8064, 2),
        ("auto", 65536, 2),
    ],
)
def test_automatic_is_where_attention_outgrows_the_rest(setting, tokens, ratio):
    assert ratio_for(setting, tokens=tokens, width=1152) == ratio


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("ratio", [2, 3, 5, 16])
def test_how_many_tokens_are_left_is_known_before(sampling, ratio):
    attn = attention(sampling, ratio)
    for grid in ((16, 17), (18, 33), (50, 16)):
        left = compress(attn, torch.zeros(1, grid[0] * grid[1], WIDTH), grid, sampling, ratio).shape[1]
        assert tokens_left(grid, sampling, ratio) == left
    if sampling in ("conv", "ave"):
        assert tokens_left((ratio - 1, 99), sampling, ratio) == 0
