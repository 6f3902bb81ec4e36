"""The autoencoder: its shape, its crops and its losses."""

import torch

from pixart_cli.features.train.autoencoder import (
    CROPS,
    autoencoder_loss,
    build_autoencoder,
    crops_of_step,
    draw_crops,
    latent_scale,
)
from pixart_cli.features.train.team import Team


def test_eight_times_smaller_with_four_channels() -> None:
    vae = build_autoencoder()
    latents = vae.encode(torch.zeros(1, 3, 64, 128)).latent_dist.mean
    assert latents.shape == (1, 4, 8, 16)
    assert vae.decode(latents).sample.shape == (1, 3, 64, 128)


def test_crops_are_a_function_of_the_step() -> None:
    first, again, next_one = (crops_of_step(step, CROPS, "a", Team()) for step in (3, 3, 4))
    assert first.shape == (CROPS[0][1], 3, CROPS[0][2], CROPS[0][2])
    assert torch.equal(first, again)
    assert not torch.equal(first, next_one)
    assert -1.0 <= first.min() < first.max() <= 1.0


def test_a_team_shares_the_crops() -> None:
    shares = [crops_of_step(3, CROPS, "a", Team(rank, 2)) for rank in (0, 1)]
    assert sum(len(share) for share in shares) == CROPS[0][1]
    assert not torch.equal(shares[0][:4], shares[1][:4])


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    vae, crops = build_autoencoder(), draw_crops(4, 64, "test")
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-4, betas=(0.9, 0.98))
    losses = []
    for _ in range(30):
        loss, figures = autoencoder_loss(vae, crops, torch.Generator().manual_seed(1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert figures["psnr"] > 0


def test_the_scale_makes_latents_unit() -> None:
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    scale = latent_scale(vae, seed=0)
    latents = vae.encode(draw_crops(8, 224, "other")).latent_dist.mean * scale
    assert 0.6 < latents.std().item() < 1.6
