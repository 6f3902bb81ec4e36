"""The autoencoder: its shape, its crops and its losses."""

import pytest
import torch

from pixart_cli.features.train.autoencoder import (
    autoencoder_loss,
    build_autoencoder,
    count_and_side,
    crops_of_step,
    latent_scale,
)
from pixart_cli.features.train.gallery import Gallery, Part, hang
from pixart_cli.features.train.told import LATENT_CHANNELS

SCHEDULE = ((0.5, 6, 32), (1.0, 3, 96))


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return hang([Part(96, 80, range(12), 1.0)], 0, workers=1)[0]


def test_eight_times_smaller_with_eight_channels() -> None:
    vae = build_autoencoder()
    latents = vae.encode(torch.zeros(1, 3, 64, 128)).latent_dist.mean
    assert latents.shape == (1, LATENT_CHANNELS, 8, 16)
    assert vae.decode(latents).sample.shape == (1, 3, 64, 128)


def test_crops_are_a_function_of_the_generator(gallery: Gallery) -> None:
    first, again, other = (
        crops_of_step(gallery, 6, 32, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (6, 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert -1.0 <= first.min() < first.max() <= 1.0


def test_crops_grow_as_far_as_the_picture(gallery: Gallery) -> None:
    assert [count_and_side(SCHEDULE, progress)[1] for progress in (0.0, 0.49, 0.5, 1.0)] == [32, 32, 96, 96]
    assert crops_of_step(gallery, 3, 96, torch.Generator()).shape == (3, 3, 80, 80)


def test_a_few_steps_lower_the_loss(gallery: Gallery) -> None:
    torch.manual_seed(0)
    vae, crops = build_autoencoder(), crops_of_step(gallery, 4, 32, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-4, betas=(0.9, 0.98))
    losses, strays = [], []
    for _ in range(32):
        loss, figures = autoencoder_loss(vae, crops, torch.Generator().manual_seed(1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        strays.append(figures["astray"].item())
    assert losses[-1] < 0.8 * losses[0]
    assert strays[-1] < strays[0]
    assert figures["psnr"] > 0


def test_the_scale_makes_latents_unit(gallery: Gallery) -> None:
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    scale = latent_scale(vae, gallery)
    corner = torch.zeros(12, dtype=torch.long)
    pictures = gallery.crops(torch.arange(12), corner, corner, (80, 96))
    with torch.no_grad():
        latents = vae.encode(pictures).latent_dist.mean * scale
    assert latents.std().item() == pytest.approx(1.0, abs=0.01)
