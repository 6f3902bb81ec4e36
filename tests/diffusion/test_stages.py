"""Each stage, in bands of every height, gives what its diffusers module gives of the whole."""

import pytest
import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from pixart_cli.diffusion.stages import Convolution, Doubling, Filter, Residual
from pixart_cli.diffusion.sweep import Store

BANDS = [1, 2, 4, 9, 50]


def run(stage, picture, band, tier="device"):
    """The stage's output, and how the shape and numbers it announced fit."""
    store = Store(torch.device("cpu"), picture.dtype, tier, band)
    rows = store.rows(picture.shape[2], picture.shape[3], picture.shape[1])
    rows.put(picture)
    result = stage.run(rows, store)
    with pytest.raises(RuntimeError, match="released"):
        rows.read(0, 1)
    height, width, held = stage.held(picture.shape[2], picture.shape[3])
    assert (height, width) == (result.height, result.width)
    assert held >= max(picture.numel(), result.height * result.width * result.channels)
    return store.whole(result)


@pytest.fixture
def picture():
    return torch.randn(1, 8, 9, 7, generator=torch.Generator().manual_seed(0)) + 0.5


def frozen(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 0), (5, 2)])
def test_filter_is_the_convolution(picture, band, kernel, padding):
    conv = frozen(nn.Conv2d(8, 5, kernel, padding=padding))
    assert torch.allclose(run(Filter(conv), picture, band), conv(picture), atol=1e-5)


@pytest.mark.parametrize("band", BANDS)
def test_filter_norms_the_whole_and_pads_after_the_activation(picture, band):
    norm, act, conv = frozen(nn.GroupNorm(2, 8)), nn.SiLU(), frozen(nn.Conv2d(8, 3, 3, padding=1))
    expected = conv(act(norm(picture)))
    assert torch.allclose(run(Filter(conv, norm=norm, activation=act), picture, band), expected, atol=1e-5)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(9, 7), (8, 6), (2, 3)])
def test_filter_is_the_strided_convolution(band, padding, size):
    picture = torch.randn(1, 8, *size, generator=torch.Generator().manual_seed(0))
    down = frozen(Downsample2D(8, use_conv=True, padding=padding, name="op"))
    stage = Filter(down.conv, (0, 1, 0, 1) if padding == 0 else None)
    assert torch.allclose(run(stage, picture, band), down(picture), atol=1e-5)


@pytest.mark.parametrize("band", BANDS)
def test_doubling_is_enlargement_and_convolution(picture, band):
    up = frozen(Upsample2D(8, use_conv=True, out_channels=8))
    assert torch.allclose(run(Doubling(up.conv), picture, band), up(picture), atol=1e-5)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("out_channels", [4, 8, 16])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_residual_is_the_block(picture, band, out_channels, scale):
    block = ResnetBlock2D(
        in_channels=8, out_channels=out_channels, temb_channels=None, groups=2, output_scale_factor=scale
    )
    frozen(block)
    assert torch.allclose(run(Residual(block), picture, band), block(picture, None), atol=1e-5)


@pytest.mark.parametrize("out_channels", [4, 8, 16])
def test_residual_in_a_file_is_the_same(picture, out_channels):
    block = ResnetBlock2D(in_channels=8, out_channels=out_channels, temb_channels=None, groups=2)
    stage = Residual(frozen(block))
    assert torch.equal(run(stage, picture, 4, "mapped"), run(stage, picture, 4))


def test_a_map_that_is_narrower_after_its_shortcut_is_not_kept(picture):
    wide = Residual(frozen(ResnetBlock2D(in_channels=8, out_channels=4, temb_channels=None, groups=2)))
    assert wide.held(9, 7)[2] == 8 * 9 * 7
    same = Residual(frozen(ResnetBlock2D(in_channels=8, out_channels=8, temb_channels=None, groups=2)))
    assert same.held(9, 7)[2] == 2 * 8 * 9 * 7


def test_convolution_knows_the_size_it_makes():
    conv = nn.Conv2d(3, 3, 3, stride=2, padding=0)
    assert Convolution(conv, (0, 1, 0, 1)).size(9, 8) == (4, 4)
    assert Convolution(nn.Conv2d(3, 3, 3, padding=1)).size(9, 8) == (9, 8)
