"""Every module of the SD family becomes a stage; anything else is refused by its name."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.architecture import decoder_stages, encoder_stages, is_known
from pixart_cli.diffusion.attention import Attending
from pixart_cli.diffusion.stages import Doubling, Filter, Residual
from tests.toy_model import toy_vae


def kinds(stages):
    return [type(stage) for stage in stages]


def test_decoder_in_order():
    level = [Residual, Residual]
    mid = [Residual, Attending, Residual]
    expected = [Filter, *mid, *[*level, Doubling] * 3, *level, Filter]
    assert kinds(decoder_stages(toy_vae().eval())) == expected


def test_encoder_in_order_without_attention():
    vae = toy_vae(layers=2, mid_attention=False).eval()
    level = [Residual, Residual]
    expected = [Filter, *[*level, Filter] * 3, *level, Residual, Residual, Filter]
    assert kinds(encoder_stages(vae)) == expected
    strides = [stage.conv.stride for stage in encoder_stages(vae) if isinstance(stage, Filter)]
    assert strides == [(1, 1), (2, 2), (2, 2), (2, 2), (1, 1)]


class OtherNorm(nn.GroupNorm):
    pass


def set_norm(vae):
    vae.decoder.mid_block.resnets[1].norm2 = OtherNorm(4, 16)


def set_grouped(vae):
    vae.decoder.conv_in = nn.Conv2d(4, 16, 3, padding=1, groups=4)


def set_same(vae):
    vae.decoder.conv_in = nn.Conv2d(4, 16, 3, padding="same")


def set_wrapped(vae):
    vae.decoder.up_blocks[0].resnets[0].conv1 = nn.Sequential(vae.decoder.up_blocks[0].resnets[0].conv1)


def set_timed(vae):
    vae.decoder.up_blocks[3].resnets[1] = ResnetBlock2D(in_channels=8, temb_channels=4, groups=4)


def set_plain_enlargement(vae):
    vae.decoder.up_blocks[1].upsamplers[0].use_conv = False


def set_large_kernel(vae):
    vae.decoder.up_blocks[1].upsamplers[0].conv = nn.Conv2d(16, 16, 5, padding=2)


def set_processor(vae):
    vae.decoder.mid_block.attentions[0].processor = nn.Identity()


def set_query_norm(vae):
    vae.decoder.mid_block.attentions[0].norm_q = nn.LayerNorm(16)


def set_activation(vae):
    vae.decoder.conv_act = nn.Softmax(dim=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_norm, "decoder.mid_block.resnets.1.norm2 is a OtherNorm"),
        (set_grouped, "decoder.conv_in is a grouped"),
        (set_same, "decoder.conv_in is a grouped"),
        (set_wrapped, "decoder.up_blocks.0.resnets.0.conv1 is a Sequential"),
        (set_timed, "decoder.up_blocks.3.resnets.1 is a ResnetBlock2D that"),
        (set_plain_enlargement, "decoder.up_blocks.1.upsamplers is an Upsample2D that"),
        (set_large_kernel, "decoder.up_blocks.1.upsamplers.conv is a convolution that is not 3x3"),
        (set_processor, "decoder.mid_block.attentions.processor is a Identity"),
        (set_query_norm, "decoder.mid_block.attentions is an Attention with norms of its own"),
        (set_activation, "decoder.conv_act is a Softmax"),
    ],
)
def test_an_unknown_module_is_refused_by_name(change, words):
    vae = toy_vae().eval()
    change(vae)
    with pytest.raises(PixartError, match=words) as caught:
        decoder_stages(vae)
    assert caught.value.code == "not-in-this-build"
    assert not is_known(vae)


def test_blocks_of_other_families_are_refused():
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    ).eval()  # fmt: skip
    with pytest.raises(PixartError, match=r"decoder\.up_blocks\.0 is a AttnUpDecoderBlock2D"):
        decoder_stages(vae)
    with pytest.raises(PixartError, match=r"encoder\.down_blocks\.1 is a AttnDownEncoderBlock2D"):
        encoder_stages(vae)


def test_half_a_padding_is_read_from_the_module():
    vae = toy_vae().eval()
    halving = [stage for stage in encoder_stages(vae) if isinstance(stage, Filter)][1]
    assert halving.padding == (0, 1, 0, 1)
    assert torch.equal(halving.conv.weight, vae.encoder.down_blocks[0].downsamplers[0].conv.weight)
