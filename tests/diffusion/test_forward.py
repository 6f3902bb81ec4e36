"""Each saving alone, and all together, against diffusers' plain forward over padded prompts."""

import dataclasses

import pytest
import torch

from pixart_cli.diffusion import forward as module
from pixart_cli.diffusion.first_block_cache import FirstBlockCache
from pixart_cli.diffusion.forward import ALL, NONE, Forward, positions
from pixart_cli.diffusion.sampling import micro_conditions
from tests.toy_model import toy_transformer

ALONE = {
    field.name: dataclasses.replace(NONE, **{field.name: getattr(ALL, field.name)})
    for field in dataclasses.fields(ALL)
    if field.name != "chunk_from"
}
SAVINGS = {
    "none": NONE, **ALONE, "chunks": dataclasses.replace(NONE, chunk_from=16), "all": ALL,
    "all in chunks": dataclasses.replace(ALL, chunk_from=16),
}  # fmt: skip
EMPTY, SHORT, LONG = 1, 3, 9
KV = {"sampling": "conv", "ratio": 2, "layers": [1], "qk_norm": True}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 7 tokens, so that the last one is not whole."""
    monkeypatch.setattr(module, "_CHUNK", 7)


def build(**options):
    torch.manual_seed(5)
    transformer = toy_transformer(num_layers=3, **options)
    return transformer.eval().requires_grad_(requires_grad=False)


def texts(*lengths):
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(length, 16, generator=generator) for length in lengths]


def latents(height=10, width=14):
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(4))


def plain(transformer, embeds, noisy, timestep):
    """As diffusers' pipelines do: one batch, every prompt padded to 12 tokens and masked."""
    padded = torch.stack([torch.nn.functional.pad(each, (0, 0, 0, 12 - len(each))) for each in embeds])
    mask = torch.stack([(torch.arange(12) < len(each)).long() for each in embeds])
    conditions = {
        name: None if value is None else value.repeat(len(embeds), 1)
        for name, value in micro_conditions(transformer, noisy, torch.float32).items()
    }
    return transformer(
        noisy.expand(len(embeds), -1, -1, -1), encoder_hidden_states=padded, encoder_attention_mask=mask,
        timestep=torch.tensor([timestep]).expand(len(embeds)), added_cond_kwargs=conditions,
    ).sample  # fmt: skip


def made_ready(transformer, embeds, noisy, savings, **options):
    return Forward(
        transformer, embeds, micro_conditions(transformer, noisy, torch.float32), savings, **options
    )


@pytest.mark.parametrize("savings", SAVINGS.values(), ids=SAVINGS)
@pytest.mark.parametrize("lengths", [(EMPTY, LONG), (SHORT, LONG), (LONG,), (EMPTY,)], ids=str)
def test_every_saving_gives_the_plain_forward(savings, lengths):
    transformer, embeds, noisy = build(), texts(*lengths), latents()
    forward = made_ready(transformer, embeds, noisy, savings)
    for timestep in (900, 40):
        found = forward(noisy, torch.tensor([timestep]))
        assert (found - plain(transformer, embeds, noisy, timestep)).abs().max() <= 1e-5
        noisy = noisy * 0.7


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"sample_size": 10, "interpolation_scale": 1.0}, (10, 10)),
        ({"sample_size": 128, "use_additional_conditions": True}, (10, 14)),
        ({"kv_compression": KV}, (10, 14)),
        ({"kv_compression": KV | {"sampling": "pool", "qk_norm": False}}, (10, 14)),
    ],
    ids=["native square", "alpha", "trained compression", "pooled"],
)
def test_all_savings_on_other_networks_give_the_plain_forward(options, size):
    transformer, embeds, noisy = build(**options), texts(EMPTY, LONG), latents(*size)
    for savings in (ALL, NONE):
        found = made_ready(transformer, embeds, noisy, savings)(noisy, torch.tensor([321]))
        assert (found - plain(transformer, embeds, noisy, 321)).abs().max() <= 1e-5


def counted(transformer, savings):
    """Calls of, and rows seen by, some modules over two steps."""
    calls = {"caption": [], "keys": [], "first": [], "second": [], "queries": []}
    block, other = transformer.transformer_blocks[:2]
    places = {
        "caption": transformer.caption_projection, "keys": block.attn2.to_k, "queries": block.attn2.to_q,
        "first": block.attn1.to_q, "second": other.attn1.to_q,
    }  # fmt: skip
    hooks = [
        place.register_forward_hook(lambda _, given, out, name=name: calls[name].append(len(out)))
        for name, place in places.items()
    ]
    forward = made_ready(transformer, texts(EMPTY, LONG), latents(), savings)
    for timestep in (900, 40):
        forward(latents(), torch.tensor([timestep]))
    for hook in hooks:
        hook.remove()
    return calls


def test_what_is_saved_is_not_computed():
    transformer = build()
    assert counted(transformer, ALL) == {
        "caption": [1, 1], "keys": [1], "queries": [1, 1], "first": [1, 1], "second": [2, 2],
    }  # fmt: skip
    without = counted(transformer, NONE)
    assert len(without["caption"]) == 2 * 2 * len(transformer.transformer_blocks)
    assert (len(without["keys"]), len(without["queries"])) == (4, 4)
    assert without["first"] == [2, 2]


def test_branches_are_counted_from_the_last():
    transformer, embeds, noisy = build(), texts(EMPTY, LONG), latents()
    forward = made_ready(transformer, embeds, noisy, ALL)
    both = forward(noisy, torch.tensor([500]))
    one = forward(noisy, torch.tensor([500]), branches=1)
    assert one.shape == (1, 8, 10, 14)
    assert torch.allclose(one, both[1:], atol=1e-5)


def test_positions_are_the_embedders_own():
    embed = build().pos_embed
    for grid in ((16, 16), (5, 7)):
        nothing = torch.zeros(1, 4, 2 * grid[0], 2 * grid[1])
        theirs = embed(nothing) - embed.proj(nothing).flatten(2).transpose(1, 2)
        assert torch.allclose(positions(embed, grid, torch.device("cpu")), theirs, atol=1e-6)


def test_half_precision_is_near():
    transformer, embeds, noisy = build().to(torch.bfloat16), texts(EMPTY, LONG), latents()
    exact = plain(build(), embeds, noisy, 500)
    half = Forward(
        transformer, [each.bfloat16() for each in embeds], {"resolution": None, "aspect_ratio": None}
    )
    found = half(noisy.bfloat16(), torch.tensor([500]))
    assert found.dtype is torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.1


def test_a_cache_that_skips_computes_the_first_block_alone():
    transformer, embeds, noisy = build(), texts(EMPTY, LONG), latents()
    cache = FirstBlockCache(1e9)
    forward = made_ready(transformer, embeds, noisy, ALL, cache=cache)
    calls = []
    hooks = [
        block.ff.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
        for layer, block in enumerate(transformer.transformer_blocks)
    ]
    first, second = forward(noisy, torch.tensor([500])), forward(noisy, torch.tensor([500]))
    for hook in hooks:
        hook.remove()
    assert calls == [0, 1, 2, 0]
    assert cache.skipped == 1
    assert torch.allclose(first, second, atol=1e-5)
