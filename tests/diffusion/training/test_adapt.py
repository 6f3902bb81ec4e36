"""Weak to strong: what changes in the network, and what must not."""

import pytest
import torch

from pixart_cli.diffusion.forward import positions
from pixart_cli.diffusion.training.adapt import Adaptation, adapted, resized

COMPRESSED = {"sampling": "conv", "ratio": 2}
NOTHING = {"resolution": None, "aspect_ratio": None}


def shown(network, side: int = 32) -> torch.Tensor:
    """The output for fixed latents of `side`."""
    generator = torch.Generator().manual_seed(0)
    latents, embeds = (
        torch.randn(1, 4, side, side, generator=generator), torch.randn(1, 2, 16, generator=generator),
    )  # fmt: skip
    with torch.inference_mode():
        return network(
            latents, encoder_hidden_states=embeds, timestep=torch.tensor([500]), added_cond_kwargs=NOTHING,
            return_dict=False,
        )[0]  # fmt: skip


def test_nothing_changed_is_the_same_network_of_its_own(weak) -> None:
    copy = adapted(weak, Adaptation())
    assert torch.equal(shown(copy), shown(weak))
    assert all(each.requires_grad and each.dtype is torch.float32 for each in copy.parameters())
    with torch.no_grad():
        copy.proj_out.weight.zero_()
    assert weak.proj_out.weight.abs().sum() > 0


def test_interpolated_positions_span_the_range_that_was_trained(weak) -> None:
    large = adapted(weak, Adaptation(image_size=512))
    assert (large.config.sample_size, large.config.interpolation_scale) == (64, 1.0)
    small, grown = (positions(net.pos_embed, (net.pos_embed.height,) * 2, torch.device("cpu"))
                    for net in (weak, large))  # fmt: skip
    # Every second position of the larger grid is one of the smaller grid.
    coarse = grown.unflatten(1, (32, 32))[:, ::2, ::2].flatten(1, 2)
    assert torch.allclose(coarse, small, atol=1e-5)


def test_the_conditions_of_a_network_stay_what_they_are_at_another_size(weak) -> None:
    """A configuration that says nothing of them means: those of a network for 1024 pixels, and no others."""
    config = {key: value for key, value in weak.config.items() if key != "use_additional_conditions"}
    small = type(weak).from_config(config)
    assert not small.use_additional_conditions
    assert not adapted(small, Adaptation(image_size=1024)).use_additional_conditions


def test_positions_are_interpolated_where_the_configuration_says_nothing_of_them(weak) -> None:
    left_out = ("interpolation_scale", "sample_size")
    config = {key: value for key, value in weak.config.items() if key not in left_out}
    source = type(weak).from_config(config)
    assert source.config.sample_size == 128
    large = adapted(source, Adaptation(image_size=2048))
    assert (large.config.sample_size, large.config.interpolation_scale) == (256, 4.0)
    assert large.pos_embed.interpolation_scale == 4.0


def test_without_interpolation_positions_go_on_beyond_it(weak) -> None:
    large = adapted(weak, Adaptation(image_size=512, interpolate=False))
    assert (large.config.sample_size, large.config.interpolation_scale) == (64, 0.5)
    small, grown = (positions(net.pos_embed, (net.pos_embed.height,) * 2, torch.device("cpu"))
                    for net in (weak, large))  # fmt: skip
    corner = grown.unflatten(1, (32, 32))[:, :16, :16].flatten(1, 2)
    assert torch.allclose(corner, small, atol=1e-5)


def test_the_native_size_itself_changes_nothing(weak) -> None:
    assert resized(weak.config, Adaptation(image_size=256)) == {}
    assert resized(weak.config, Adaptation()) == {}


def test_the_compressing_convolution_starts_as_an_average(weak) -> None:
    strong = adapted(weak, Adaptation(kv_compression=COMPRESSED))
    assert strong.kv_compression is not None
    assert strong.kv_compression.layers == (1,)
    attn = strong.transformer_blocks[1].attn1
    assert torch.equal(attn.sr.weight, torch.full_like(attn.sr.weight, 0.25))
    assert attn.sr.bias.abs().sum() == 0
    assert attn.sr.weight.requires_grad
    kept = {key: value for key, value in strong.state_dict().items() if ".sr." not in key}
    assert all(torch.equal(value, kept[key]) for key, value in weak.state_dict().items())


def test_the_random_start_is_another_and_the_seed_s(weak) -> None:
    change = Adaptation(kv_compression=COMPRESSED, kv_start="random")
    one, same, other = (adapted(weak, change, seed=seed) for seed in (0, 0, 1))
    weights = [net.transformer_blocks[1].attn1.sr.weight for net in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].std() > 0


def test_compressed_weights_are_not_compressed_again(weak) -> None:
    strong = adapted(weak, Adaptation(kv_compression=COMPRESSED))
    with pytest.raises(ValueError, match="compressed already"):
        adapted(strong, Adaptation(kv_compression=COMPRESSED))
