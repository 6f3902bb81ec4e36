"""Weights that pass through a device: there when they are used, at home when they are not, the same bits."""

import copy

import pytest
import torch

from pixart_cli.diffusion.convoy import Convoy
from pixart_cli.diffusion.forward import Forward
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from tests.toy_model import toy_text_encoder, toy_transformer

NOTHING = {"resolution": None, "aspect_ratio": None}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return toy_text_encoder(20).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    ours = PixArtSigmaTransformer2DModel.from_config(toy_transformer(num_layers=4).config)
    return ours.eval().requires_grad_(requires_grad=False)


def run(encoder):
    with torch.inference_mode():
        return encoder(torch.tensor([[3, 7, 9, 1]]))[0]


def places(network, part):
    """Where the weights of each block of `network` are, while `part` works."""
    seen = []
    hook = part.register_forward_pre_hook(
        lambda *_: seen.append([{str(p.device) for p in block.parameters()} for block in network])
    )
    return seen, hook


def test_the_same_bits_and_every_weight_at_home_after(encoder):
    expected, before = run(encoder), dict(encoder.named_parameters())
    convoy = Convoy(encoder, "cpu:0")
    for _ in range(2):
        assert torch.equal(run(encoder), expected)
    convoy.end()
    assert torch.equal(run(encoder), expected)
    after = dict(encoder.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[key] is weight for key, weight in before.items())
    assert not any(module._forward_pre_hooks for module in encoder.modules())


def test_one_block_is_there_while_it_works(encoder):
    blocks = encoder.encoder.block
    seen = [places(blocks, block.layer[0].SelfAttention.q)[0] for block in blocks]
    convoy = Convoy(encoder, "meta")
    encoder(torch.tensor([[3, 7]], device="meta"))
    convoy.end()
    assert seen == [[[{"meta"}, {"cpu"}]], [[{"cpu"}, {"meta"}]]]
    assert {str(weight.device) for weight in encoder.parameters()} == {"cpu"}


def forward_of(transformer):
    embeds = [torch.randn(n, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 4)]
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        forward = Forward(transformer, embeds, NOTHING)
        return [forward(latents, torch.tensor([float(step)])) for step in (900, 300)]


def test_a_forward_that_calls_no_block_as_a_whole_is_served(transformer):
    expected = forward_of(transformer)
    blocks = transformer.transformer_blocks
    seen, hook = places(blocks, blocks[2].ff)
    home = {id(weight) for weight in transformer.parameters()}
    working = []
    probe = blocks[2].ff.register_forward_pre_hook(
        lambda *_: working.append([{id(p) in home for p in block.parameters()} for block in blocks])
    )
    convoy = Convoy(transformer, "cpu:0")
    found = forward_of(transformer)
    convoy.end()
    hook.remove()
    probe.remove()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert len(seen) == len(working) == 2
    assert working[0] == [{True}, {True}, {False}, {True}]


def test_weights_are_cast_on_arrival_and_only_there(encoder):
    whole = copy.deepcopy(encoder).bfloat16()
    convoy = Convoy(encoder, "cpu", lambda _key: torch.bfloat16)
    streamed = run(encoder)
    convoy.end()
    assert streamed.dtype is torch.bfloat16
    assert torch.equal(streamed, run(whole))
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


def test_every_weight_is_asked_for_by_its_whole_name(encoder):
    asked = set()
    convoy = Convoy(encoder, "cpu", lambda key: asked.add(key) or torch.float32)
    run(encoder)
    convoy.end()
    tied = {"shared.weight", "encoder.embed_tokens.weight"}  # one table of words, which works as the latter
    assert asked - tied == {key for key, _ in encoder.named_parameters()} - tied
    assert asked & tied == {"encoder.embed_tokens.weight"}


def test_all_is_at_home_after_an_error_in_the_middle(encoder):
    before = dict(encoder.named_parameters())
    fail = encoder.encoder.block[1].register_forward_hook(lambda *_: 1 / 0)
    convoy = Convoy(encoder, "cpu:0")
    with pytest.raises(ZeroDivisionError):
        run(encoder)
    convoy.end()
    fail.remove()
    assert all(dict(encoder.named_parameters())[key] is weight for key, weight in before.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_what_streams_gives_the_bits_of_what_stays(encoder):
    tokens = torch.randint(3, 20, (1, 64), generator=torch.Generator().manual_seed(1)).cuda()
    with torch.inference_mode():
        whole = copy.deepcopy(encoder).cuda()(tokens)[0]
        convoy = Convoy(encoder, "cuda:0")
        for _ in range(5):
            assert torch.equal(encoder(tokens)[0], whole)
        convoy.end()
