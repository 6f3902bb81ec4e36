"""Attention with its queries a band at a time is attention over all pixels."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from pixart_cli.diffusion import attention
from pixart_cli.diffusion.attention import Attending
from pixart_cli.diffusion.sweep import Store


def mid_attention(**changes):
    torch.manual_seed(0)
    settings = {
        "heads": 1, "dim_head": 8, "norm_num_groups": 2, "residual_connection": True, "bias": True,
        "upcast_softmax": True, "_from_deprecated_attn_block": True,
    }  # fmt: skip
    module = Attention(8, **settings | changes)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval().requires_grad_(requires_grad=False)


def run(module, picture, band, tier="device"):
    store = Store(torch.device("cpu"), picture.dtype, tier, band)
    rows = store.rows(picture.shape[2], picture.shape[3], picture.shape[1])
    rows.put(picture)
    return store.whole(Attending(module).run(rows, store))


@pytest.fixture
def picture():
    return torch.randn(1, 8, 7, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("band", [1, 3, 7])
@pytest.mark.parametrize(
    "changes",
    [{}, {"heads": 2, "dim_head": 4}, {"rescale_output_factor": 2.0}, {"residual_connection": False},
     {"norm_num_groups": None}],
)  # fmt: skip
def test_bands_of_queries_see_every_key(picture, band, changes):
    module = mid_attention(**changes)
    assert torch.allclose(run(module, picture, band), module(picture), atol=1e-5)


def test_the_tier_changes_nothing(picture):
    module = mid_attention()
    assert torch.equal(run(module, picture, 3, "mapped"), run(module, picture, 3))


def test_scores_are_split_where_they_would_take_much_memory(picture, monkeypatch):
    module = mid_attention()
    whole = module(picture)
    monkeypatch.setattr(attention, "_SCORE_BYTES", 4 * 35 * 4)
    monkeypatch.setattr(attention, "_kernels", lambda *_: attention._Kernels(fast=False, fused=False))
    assert torch.allclose(run(module, picture, 3), whole, atol=1e-5)


def test_attending_holds_keys_values_and_the_map():
    assert Attending(mid_attention()).held(7, 5) == (7, 5, 3 * 8 * 35)


def test_the_processor_always_has_a_fused_kernel():
    query = torch.zeros(1, 1, 8, 512)
    assert attention._kernels(query, query, query) == attention._Kernels(fast=True, fused=True)
    there = query.to("meta")
    assert attention._kernels(there, there, there) == attention._Kernels(fast=False, fused=False)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_products_give_what_the_kernel_gives(dtype, error):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 40, 16, generator=generator)
    exact = torch.nn.functional.scaled_dot_product_attention(query[:, :, :9], key, value)
    halves = (each.to(dtype) for each in (query[:, :, :9], key, value))
    found = attention.by_products(*halves)
    assert found.dtype is dtype
    assert (found.float() - exact).abs().max() < 5 * error
