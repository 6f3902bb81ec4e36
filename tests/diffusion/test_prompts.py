"""What blocks are told: one picture's texts apart, several pictures' together, the same numbers."""

import pytest
import torch

from pixart_cli.diffusion.prompts import ALL, Apart, Text, Together, add_told
from tests.toy_model import toy_transformer


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return toy_transformer().eval()


def rows(network, lengths):
    generator = torch.Generator().manual_seed(1)
    channels = network.config.caption_channels
    one = torch.randn(1, channels, generator=generator)  # every text of one token is the same
    return [one if length == 1 else torch.randn(length, channels, generator=generator) for length in lengths]


@pytest.mark.parametrize("lengths", [(1, 1, 3, 7), (2, 5, 3, 7), (1, 4, 3, 7), (4, 4), (1, 1)])
def test_together_is_apart(network, lengths):
    embeds = rows(network, lengths)
    hidden = torch.randn(len(embeds), 6, network.inner_dim, generator=torch.Generator().manual_seed(2))
    apart = Apart([Text(network, each, ALL) for each in embeds])
    together = Together(network, embeds, ALL)
    assert apart.rows == together.rows == len(lengths)
    with torch.inference_mode():
        for layer, block in enumerate(network.transformer_blocks):
            for _ in range(2):  # the second time from what was kept
                first, second = (
                    add_told(block.attn2, hidden, texts.told(layer, block.attn2))
                    for texts in (apart, together)
                )
                assert torch.allclose(first, second, atol=1e-5)
        assert not torch.allclose(first[0], first[-1], atol=1e-2)


def test_one_token_is_one_vector_for_all_tokens_of_the_picture(network):
    (embeds,) = rows(network, (1,))
    with torch.inference_mode():
        told = Text(network, embeds, ALL).told(0, network.transformer_blocks[0].attn2)
    assert told.first.shape == (1, 1, network.inner_dim)
    assert told.values is None
