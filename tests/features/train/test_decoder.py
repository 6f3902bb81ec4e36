"""The decoder's stage: rough latents beside the pictures they were made from."""

import pytest
import torch
from torch import Tensor

from pixart_cli.diffusion.objective import add_noise, alphas_cumprod, velocity
from pixart_cli.features.train import decoder
from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.decoder import crops_of_step, decoder_loss, rough_bucket, take_noise_out
from pixart_cli.features.train.denoiser import Bucket, encode_gallery
from pixart_cli.features.train.gallery import Part, hang

SCHEDULE = ((1.0, 3, 4),)


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
    gallery = hang([Part(64, 48, range(100, 140), 1.0)], 0, workers=1)[0]
    path = tmp_path_factory.mktemp("bucket") / "b.npy"
    return encode_gallery(build_autoencoder().eval(), 0.5, gallery, path)


def _zeros(latents: Tensor, ids: Tensor, timesteps: Tensor) -> Tensor:
    assert len(ids) == len(latents) == len(timesteps)
    return torch.zeros_like(latents)


def test_noise_is_taken_out_in_even_steps() -> None:
    latents, noise = torch.randn(2, 4, 4, 6), torch.randn(2, 4, 4, 6)
    timesteps = torch.tensor([400, 80])
    knowing = Knowing(latents)
    noised = add_noise(latents, noise, alphas_cumprod()[timesteps])
    left = take_noise_out(knowing, noised, torch.zeros(2, 3, 8), torch.ones(2, 3), timesteps)  # type: ignore[arg-type]
    assert knowing.seen == [[400, 80], [300, 60], [200, 40], [100, 20]]
    assert torch.allclose(left, latents, atol=1e-4)


def test_some_pictures_stay_as_the_encoder_gave_them(bucket: Bucket) -> None:
    rough = rough_bucket(bucket, 30, 0, _zeros)
    assert len(rough.latents) == 30
    same = [bool(torch.equal(a, b)) for a, b in zip(rough.latents, bucket.latents[:30], strict=True)]
    gone = [not a.any() for a in rough.latents]
    assert all(a != b for a, b in zip(same, gone, strict=True))
    assert 3 <= sum(same) <= 16  # of 30, at a share of 0.3
    assert torch.equal(rough.latents, rough_bucket(bucket, 30, 0, _zeros).latents)


def test_noise_is_added_before_it_is_taken_out(bucket: Bucket) -> None:
    seen: list[Tensor] = []

    def keep(latents: Tensor, ids: Tensor, timesteps: Tensor) -> Tensor:
        assert torch.equal(ids, bucket.gallery.ids[:8, 0].long())
        assert int(timesteps.max()) < decoder.MOST_NOISE
        seen.append(latents)
        return latents

    rough_bucket(bucket, 8, 0, keep)
    assert (seen[0] - bucket.latents[:8].float()).std() > 0.1


def test_crops_show_the_same_part(bucket: Bucket) -> None:
    """The start of the autoencoder is an eightfold average: latents tell which part a crop is of."""
    crop, again, other = (crops_of_step([bucket], SCHEDULE, 0.0, chance) for chance in ("1", "1", "2"))
    assert crop.latents.shape == (3, 8, 4, 4)
    assert crop.pixels.shape == (3, 3, 32, 32)
    assert torch.equal(crop.pixels, again.pixels)
    assert not torch.equal(crop.pixels, other.pixels)
    lightness = crop.pixels.mean(dim=1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean(dim=(2, 4))
    pairs = torch.stack([lightness.flatten(), crop.latents[:, 0].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.99


def test_the_loss_leaves_the_encoder_alone(bucket: Bucket) -> None:
    vae = build_autoencoder()
    crop = crops_of_step([bucket], SCHEDULE, 0.0, "1")
    loss, figures = decoder_loss(vae, 0.5, crop, torch.Generator().manual_seed(1))
    loss.backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.decoder.parameters())
    assert figures["psnr"] > 0
