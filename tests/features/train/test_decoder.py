"""The decoder's stage: rough latents beside the pictures they were made from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pixart_cli.diffusion.objective import add_noise, alphas_cumprod, velocity
from pixart_cli.features.train import decoder
from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.decoder import crops_of_step, decoder_loss, rough_bucket, take_noise_out
from pixart_cli.features.train.denoiser import Bucket, encode_bucket
from pixart_cli.features.train.team import Team


class Knowing(torch.nn.Module):
    """A transformer that knows the picture: its velocity is the true one."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents, self.seen = latents, list[list[int]]()

    def forward(self, noised: Tensor, *, timestep: Tensor, **_options: object) -> object:
        self.seen.append(timestep.tolist())
        alpha_bar = alphas_cumprod()[timestep].view(-1, 1, 1, 1)
        noise = (noised - alpha_bar.sqrt() * self.latents) / (1 - alpha_bar).sqrt()
        sample = velocity(self.latents, noise, alpha_bar.flatten())
        return type("Output", (), {"sample": sample})()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bucket") / "b.npy"
    return encode_bucket(build_autoencoder().eval(), 0.5, (64, 48), range(100, 140), 0, path)


def _zeros(latents: Tensor, texts: Sequence[str], timesteps: Tensor) -> Tensor:
    assert len(texts) == len(latents) == len(timesteps)
    return torch.zeros_like(latents)


def test_noise_is_taken_out_in_even_steps() -> None:
    latents, noise = torch.randn(2, 4, 4, 6), torch.randn(2, 4, 4, 6)
    timesteps = torch.tensor([400, 80])
    knowing = Knowing(latents)
    noised = add_noise(latents, noise, alphas_cumprod()[timesteps])
    left = take_noise_out(knowing, noised, torch.zeros(2, 3, 8), torch.ones(2, 3), timesteps)  # type: ignore[arg-type]
    assert knowing.seen == [[400, 80], [300, 60], [200, 40], [100, 20]]
    assert torch.allclose(left, latents, atol=1e-4)


def test_some_pictures_stay_as_the_encoder_gave_them(bucket: Bucket, tmp_path: Path) -> None:
    rough = rough_bucket(bucket, 30, 0, tmp_path / "rough.npy", _zeros)
    assert rough.indices == range(100, 130)
    same = [bool(np.array_equal(a, b)) for a, b in zip(rough.latents, bucket.latents[:30], strict=True)]
    gone = [not a.any() for a in rough.latents]
    assert all(a != b for a, b in zip(same, gone, strict=True))
    assert 3 <= sum(same) <= 16  # of 30, at a share of 0.3


def test_rough_pictures_are_made_once(bucket: Bucket, tmp_path: Path) -> None:
    first = rough_bucket(bucket, 5, 0, tmp_path / "rough.npy", _zeros)

    def never(latents: Tensor, texts: Sequence[str], timesteps: Tensor) -> Tensor:
        raise AssertionError

    again = rough_bucket(bucket, 5, 0, tmp_path / "rough.npy", never)
    assert np.array_equal(first.latents, again.latents)


def test_crops_show_the_same_part(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of the autoencoder is an eightfold average: latents tell which part a crop is of."""
    monkeypatch.setattr(decoder, "DECODER_CROPS", ((5, 3, 4),))
    crop, again, other = (crops_of_step([bucket], step, 0, Team()) for step in (1, 1, 2))
    assert crop.latents.shape == (3, 4, 4, 4)
    assert crop.pixels.shape == (3, 3, 32, 32)
    assert torch.equal(crop.pixels, again.pixels)
    assert not torch.equal(crop.pixels, other.pixels)
    lightness = crop.pixels.mean(dim=1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean(dim=(2, 4))
    pairs = torch.stack([lightness.flatten(), crop.latents[:, 0].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.99


def test_the_loss_leaves_the_encoder_alone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "DECODER_CROPS", ((5, 2, 4),))
    vae = build_autoencoder()
    crop = crops_of_step([bucket], 1, 0, Team())
    loss, figures = decoder_loss(vae, 0.5, crop, torch.Generator().manual_seed(1))
    loss.backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.decoder.parameters())
    assert figures["psnr"] > 0
