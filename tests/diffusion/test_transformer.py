"""The transformer with KV compression: the parent where it is off, the reference where it is on."""

import json

import pytest
import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel, kv_compressed
from tests.diffusion.test_kv_compression import reference_attention
from tests.toy_model import toy_transformer

LAYERS = 4
CONV = {"sampling": "conv", "ratio": 2, "layers": [2, 3], "qk_norm": False}


def plain():
    torch.manual_seed(1)
    return toy_transformer(num_layers=LAYERS).eval().requires_grad_(requires_grad=False)


def ours(kv_compression=None):
    """Our class over the weights of `plain`; weights that only compression has are random."""
    torch.manual_seed(3)
    model = PixArtSigmaTransformer2DModel.from_config(plain().config, kv_compression=kv_compression).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.load_state_dict(plain().state_dict(), strict=False)
    return model.requires_grad_(requires_grad=False)


def inputs(height=12, width=10):
    generator = torch.Generator().manual_seed(2)
    return {
        "hidden_states": torch.randn(2, 4, height, width, generator=generator),
        "encoder_hidden_states": torch.randn(2, 6, 16, generator=generator),
        "timestep": torch.tensor([700, 20]),
        "encoder_attention_mask": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]),
    }


@pytest.mark.parametrize(
    "compression",
    [None, {"sampling": "conv", "ratio": 1}, {"sampling": "pool", "ratio": 1, "layers": [0]}],
    ids=["none", "ratio 1", "pool 1"],
)
def test_without_compression_it_is_the_parent_bit_by_bit(compression):
    model = ours(compression)
    assert model.state_dict().keys() == plain().state_dict().keys()
    assert torch.equal(model(**inputs()).sample, plain()(**inputs()).sample)
    assert isinstance(model(**inputs(), return_dict=False), tuple)
    assert model.kv_compression is None


class Reference:
    """A processor that computes self-attention by the plain reference, with `weights` of its own."""

    def __init__(self, weights, sampling, ratio):
        self.weights, self.settings = weights, {"sampling": sampling, "ratio": ratio}

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        each = (reference_attention(x, (6, 5), self.weights, heads=3, **self.settings) for x in hidden_states)
        return torch.stack(list(each))


@pytest.mark.parametrize("qk_norm", [False, True], ids=["plain", "qk_norm"])
@pytest.mark.parametrize("sampling", ["conv", "ave", "uniform", "uniform_every", "pool"])
def test_compressed_network_equals_the_parent_with_reference_attention(sampling, qk_norm):
    model = ours({"sampling": sampling, "ratio": 2, "layers": [1, 3], "qk_norm": qk_norm})
    reference = plain()
    for layer, block in enumerate(reference.transformer_blocks):
        weights = model.transformer_blocks[layer].attn1.state_dict()
        block.attn1.set_processor(Reference(weights, sampling, 2 if layer in (1, 3) else 1))
    found, expected = model(**inputs()).sample, reference(**inputs()).sample
    assert (found - expected).abs().max() <= 1e-5
    assert not torch.allclose(found, plain()(**inputs()).sample, atol=1e-3)


def test_names_are_the_authors():
    added = ours(CONV | {"qk_norm": True}).state_dict().keys() - plain().state_dict().keys()
    kinds = ("weight", "bias")
    norms = {f"{i}.attn1.{n}.{k}" for i in range(LAYERS) for n in ("q_norm", "k_norm") for k in kinds}
    convs = {f"{i}.attn1.{n}.{k}" for i in (2, 3) for n in ("sr", "norm") for k in kinds}
    assert added == {f"transformer_blocks.{name}" for name in norms | convs}


@pytest.mark.parametrize("compression", [None, CONV, CONV | {"sampling": "pool", "qk_norm": True}], ids=str)
def test_saved_and_loaded_it_is_the_same(tmp_path, compression):
    model = ours(compression)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["kv_compression"] == compression
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]
    again, told = PixArtSigmaTransformer2DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told.values())
    assert again.config.kv_compression == compression
    assert torch.equal(again(**inputs()).sample, model(**inputs()).sample)


def test_diffusers_own_folders_load(tmp_path):
    plain().save_pretrained(tmp_path)
    model = PixArtSigmaTransformer2DModel.from_pretrained(tmp_path)
    assert model.config.kv_compression is None
    assert torch.equal(model(**inputs()).sample, plain()(**inputs()).sample)


def test_switched_on_over_loaded_weights_and_off_again():
    model = ours()
    before = model(**inputs()).sample
    model.enable_kv_compression("conv", 2)
    assert model.config.kv_compression == CONV
    attn = model.transformer_blocks[2].attn1
    assert attn.sr.weight.unique().tolist() == [0.25]
    assert attn.sr.bias.abs().max() == attn.norm.bias.abs().max() == 0
    assert not torch.equal(model(**inputs()).sample, before)
    with pytest.raises(ValueError, match="already"):
        model.enable_kv_compression("pool", 2)
    with pytest.raises(ValueError, match="processors"):
        model.set_default_attn_processor()
    model.disable_kv_compression()
    assert model.config.kv_compression is None
    assert model.state_dict().keys() == plain().state_dict().keys()
    assert torch.equal(model(**inputs()).sample, before)
    model.set_default_attn_processor()


def test_the_training_free_mode_adds_no_parameter_and_is_near():
    model = ours()
    before = model(**inputs()).sample
    model.enable_kv_compression("pool", 2)
    assert model.state_dict().keys() == plain().state_dict().keys()
    assert model.kv_compression.layers == (2, 3)
    difference = (model(**inputs()).sample - before).abs().mean()
    assert 0 < difference < before.abs().mean()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
def test_it_trains_and_checkpointing_changes_no_gradient(checkpointing):
    model = ours(CONV | {"qk_norm": True}).train().requires_grad_(requires_grad=True)
    if checkpointing:
        model.enable_gradient_checkpointing()
    # A second size before the backward pass: each recomputation must see the grid of its own forward.
    first, second = model(**inputs()).sample, model(**inputs(10, 12)).sample
    (first.square().mean() + second.square().mean()).backward()
    for layer in (2, 3):
        attn = model.transformer_blocks[layer].attn1
        for module in (attn.sr, attn.norm, attn.q_norm, attn.k_norm):
            assert all(parameter.grad.abs().max() > 0 for parameter in (module.weight, module.bias))
    reference = ours(CONV | {"qk_norm": True}).train().requires_grad_(requires_grad=True)
    loss = sum(reference(**inputs(*size)).sample.square().mean() for size in ((12, 10), (10, 12)))
    loss.backward()
    pairs = zip(model.parameters(), reference.parameters(), strict=True)
    assert all(torch.allclose(one.grad, other.grad, atol=1e-6) for one, other in pairs)


def test_a_step_of_training_moves_the_convolution():
    model = ours(CONV).train().requires_grad_(requires_grad=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model.transformer_blocks[3].attn1.sr.weight.clone()
    losses = []
    for _ in range(3):
        loss = model(**inputs()).sample.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert not torch.equal(before, model.transformer_blocks[3].attn1.sr.weight)


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(ValueError, match="sampling"):
        ours({"sampling": "mean", "ratio": 2})
    with pytest.raises(ValueError, match="blocks from 0 to 3"):
        ours(CONV | {"layers": [4]})


def test_half_precision_stays_half():
    half = ours(CONV).to(torch.bfloat16)
    told = {
        name: value.to(torch.bfloat16) if value.is_floating_point() else value
        for name, value in inputs().items()
    }
    assert half(**told).sample.dtype is torch.bfloat16


@pytest.mark.parametrize(("setting", "ratio"), [("off", None), ("auto", None), ("2", 2), ("3", 3)])
def test_kv_compressed_lasts_as_long_as_its_block(setting, ratio):
    model = ours()
    with kv_compressed(model, setting, tokens=30) as used:
        assert (used and used.ratio) == ratio
        assert used is None or (used.sampling, used.layers) == ("pool", (2, 3))
    assert model.kv_compression is None
    with kv_compressed(model, "auto", tokens=7 * 24) as used:
        assert used.ratio == 2


def test_trained_compression_stays_and_another_ratio_is_refused():
    model = ours(CONV)
    for setting in ("off", "auto", "2"):
        with kv_compressed(model, setting, tokens=30) as used:
            assert used.to_dict() == CONV
    with pytest.raises(PixartError, match="trained with") as caught, kv_compressed(model, "3", tokens=30):
        pass
    assert caught.value.code == "request-invalid"
    assert model.kv_compression is not None


def test_it_is_diffusers_class():
    assert isinstance(ours(), PixArtTransformer2DModel)
