"""A picture is finite and not constant; a decode that overflows is done once more in float32."""

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import estimate
from pixart_cli.diffusion.decode import decode, encode, is_picture, posterior
from tests.toy_model import toy_vae


@pytest.fixture
def vae():
    torch.manual_seed(1)
    return toy_vae().eval().requires_grad_(requires_grad=False)


@pytest.fixture
def latents():
    return torch.randn(1, 4, 6, 4, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["whole", "in bands"])
def way(request, monkeypatch):
    """Toys are decoded whole; in bands only where nothing is small enough for that."""
    if request.param == "in bands":
        monkeypatch.setattr(estimate, "_WHOLE_BYTES", 0)


def code_of(function, *args):
    with pytest.raises(PixartError) as caught:
        function(*args)
    return caught.value.code


def test_decodes_to_rows_columns_and_unit_range(vae, latents):
    pixels, dtype = decode(vae, latents)
    assert pixels.shape == (48, 32, 3)
    assert pixels.dtype is torch.float32
    assert dtype == "float32"
    assert 0 <= pixels.min() < pixels.max() <= 1
    expected = vae.decode(latents / vae.config.scaling_factor).sample[0] / 2 + 0.5
    assert torch.equal(pixels, expected.clamp(0, 1).permute(1, 2, 0))


def test_a_large_picture_is_decoded_in_bands_to_the_same_pixels(vae, latents, monkeypatch):
    whole, _ = decode(vae, latents)
    monkeypatch.setattr(estimate, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(vae, "decode", None)
    found, dtype = decode(vae, latents)
    assert (dtype, found.shape, found.is_contiguous()) == ("float32", whole.shape, True)
    assert (found - whole).abs().max() < 0.02 / 255
    assert torch.equal(decode(vae, latents)[0], found)


def test_a_vae_with_unknown_parts_is_decoded_whole(vae, latents, monkeypatch):
    monkeypatch.setattr(estimate, "_WHOLE_BYTES", 0)
    whole, _ = decode(vae, latents)
    vae.decoder.conv_act = torch.nn.Sequential(vae.decoder.conv_act)
    found, _ = decode(vae, latents)
    assert torch.allclose(found, whole, atol=1e-4)


@pytest.mark.usefixtures("way")
def test_shift_factor_is_added(vae, latents):
    plain, _ = decode(vae, latents)
    vae.register_to_config(shift_factor=0.25)
    shifted, _ = decode(vae, latents - 0.25 * vae.config.scaling_factor)
    assert torch.allclose(plain, shifted, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_latents_are_refused(vae, latents, value):
    latents[0, 1, 2, 3] = value
    assert code_of(decode, vae, latents) == "picture-invalid"


@pytest.mark.usefixtures("way")
def test_overflow_in_half_is_decoded_again_in_float32(vae, latents):
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(3e4)
    exact, _ = decode(vae, latents)
    half = vae.to(torch.float16)
    scaled = latents.half() / vae.config.scaling_factor
    assert not torch.isfinite(half.decode(scaled).sample).all()
    pixels, dtype = decode(half, latents)
    assert dtype == "float32"
    assert half.dtype is torch.float16
    assert (pixels - exact).abs().mean() < 0.02


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_weights_are_refused_after_the_retry(vae, latents, dtype):
    with torch.no_grad():
        vae.decoder.conv_out.bias[1] = float("nan")
    assert code_of(decode, vae.to(dtype), latents) == "picture-invalid"


@pytest.mark.usefixtures("way")
def test_a_constant_picture_is_none_but_a_black_one_is(vae, latents):
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(1e-3)
        vae.decoder.conv_out.bias.fill_(-1.2)
    pixels, _ = decode(vae, latents)
    assert pixels.max() == 0
    with torch.no_grad():
        vae.decoder.conv_out.weight.zero_()
    assert code_of(decode, vae, latents) == "picture-invalid"


def test_is_picture_asks_the_tensor():
    assert is_picture(torch.tensor([0.0, 1e-3]))
    assert not is_picture(torch.zeros(8))
    assert not is_picture(torch.tensor([0.0, float("nan")]))


@pytest.mark.usefixtures("way")
def test_encode_gives_the_scaled_mean_that_decode_takes(vae):
    vae.register_to_config(shift_factor=0.25)
    pixels = torch.rand(48, 32, 3, generator=torch.Generator().manual_seed(0))
    expected = vae.encode(pixels.permute(2, 0, 1)[None] * 2 - 1).latent_dist.mean
    found = encode(vae, pixels)
    assert found.dtype is torch.float32
    assert torch.allclose(found, (expected - 0.25) * vae.config.scaling_factor, atol=1e-4)
    again = vae.decode(expected).sample[0].permute(1, 2, 0) / 2 + 0.5
    assert torch.allclose(decode(vae, found)[0], again.clamp(0, 1), atol=1e-4)


def test_an_encode_that_overflows_in_half_is_done_again_in_float32(vae):
    with torch.no_grad():
        vae.encoder.conv_in.weight.mul_(3e5)
    pixels = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))
    exact, found = encode(vae, pixels), encode(vae.to(torch.float16), pixels)
    assert vae.dtype is torch.float16
    assert torch.allclose(found, exact, atol=0.05 * exact.abs().max().item())


def test_nan_in_the_encoder_is_refused(vae):
    with torch.no_grad():
        vae.encoder.conv_out.bias[1] = float("nan")
    assert code_of(encode, vae, torch.rand(16, 16, 3)) == "picture-invalid"


def test_the_posterior_is_the_vae_s_own_scaled(vae):
    pixels = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mean, deviation = posterior(vae, pixels)
        own = vae.encode(pixels.permute(2, 0, 1)[None] * 2 - 1).latent_dist
    assert torch.allclose(mean, own.mean[0] * vae.config.scaling_factor, atol=1e-6)
    assert torch.allclose(deviation, own.std[0] * vae.config.scaling_factor, atol=1e-6)
