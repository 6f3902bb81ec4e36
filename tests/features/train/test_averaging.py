"""The autoencoder's start: an eightfold average, before anything is learned."""

import torch
from torch.nn import functional

from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.averaging import LOG_VARIANCE
from pixart_cli.features.train.gallery import Part, hang
from pixart_cli.features.train.told import told


def _pictures() -> torch.Tensor:
    gallery = hang([Part(128, 96, range(4), 1.0)], 0, workers=1)[0]
    corner = torch.zeros(4, dtype=torch.long)
    return gallery.crops(torch.arange(4), corner, corner, (96, 128))


def _psnr(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10((first - second).square().mean(dim=(1, 2, 3)) / 4)


@torch.no_grad()
def test_it_starts_as_the_mean_of_eight_by_eight_blocks() -> None:
    torch.manual_seed(0)
    vae, pictures = build_autoencoder().eval(), _pictures()
    given_back = vae.decode(vae.encode(pictures).latent_dist.mean).sample
    blocks = functional.interpolate(functional.avg_pool2d(pictures, 8), scale_factor=8)
    assert (_psnr(given_back, blocks) > 24).all()  # the last norm's scale varies a little with the picture
    assert (_psnr(given_back, pictures) > _psnr(blocks, pictures) - 3).all()


@torch.no_grad()
def test_latents_start_as_the_mean_colours_along_three_axes() -> None:
    torch.manual_seed(0)
    vae, pictures = build_autoencoder().eval(), _pictures()
    posterior = vae.encode(pictures).latent_dist
    wanted = told(pictures)
    for channel in range(3):
        pair = torch.stack([posterior.mean[:, channel].flatten(), wanted[:, channel].flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.98
        assert 0.8 < pair[0].std() / pair[1].std() < 1.1
    assert posterior.mean[:, 3].abs().max() < 0.05
    assert torch.allclose(posterior.logvar, torch.full_like(posterior.logvar, LOG_VARIANCE), atol=0.1)


def test_every_weight_can_learn() -> None:
    """Residual branches start silent, not dead: a gradient reaches the convolution that silences them."""
    torch.manual_seed(0)
    vae = build_autoencoder()
    vae.decode(vae.encode(_pictures()).latent_dist.mean).sample.square().mean().backward()
    silent = [m for m in vae.modules() if type(m).__name__ == "ResnetBlock2D"]
    assert silent
    assert all(m.conv2.weight.grad.abs().sum() > 0 for m in silent)
