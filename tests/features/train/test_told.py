"""What latents are told to be."""

import pytest
import torch

from pixart_cli.features.train.gallery import Part, hang
from pixart_cli.features.train.told import AXES, LATENT_CHANNELS, told


def test_a_plain_block_has_its_colour_and_no_detail() -> None:
    gray = told(torch.full((1, 3, 16, 8), 0.5))
    assert gray.shape == (1, LATENT_CHANNELS, 2, 1)
    assert gray[0, 0].flatten().tolist() == pytest.approx([2.2 * 0.5 * 3**0.5] * 2, rel=1e-5)
    assert gray[:, 1:].abs().max() < 1e-4


def test_an_edge_is_told_with_its_direction() -> None:
    edge = torch.full((1, 3, 8, 8), -1.0)
    edge[..., 4:, :] = 1.0  # light below
    down, across = told(edge)[0, 3:5].flatten().tolist()
    assert down > 1
    assert across == pytest.approx(0.0, abs=1e-5)
    turned = told(edge.transpose(2, 3))[0, 3:5].flatten().tolist()
    assert turned[1] > 1
    assert turned[0] == pytest.approx(0.0, abs=1e-5)
    assert told(-edge)[0, 3].item() == pytest.approx(-down)


def test_axes_are_at_right_angles() -> None:
    assert torch.allclose(AXES @ AXES.T, torch.eye(3), atol=1e-6)


def test_over_drawn_pictures_latents_are_about_unit_and_details_fainter() -> None:
    (gallery,) = hang([Part(96, 96, range(48), 1.0)], 0, workers=1)
    latents = told(gallery.whole(torch.arange(48)))
    assert 0.8 < latents.std().item() < 1.25
    each = latents.std(dim=(0, 2, 3))
    assert (each[:3] > 0.7).all()
    assert ((each[3:] > 0.15) & (each[3:] < each[0])).all()
