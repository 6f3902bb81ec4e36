"""Statistics put together from bands are those of the whole, at any mean."""

import pytest
import torch
from torch import nn

from pixart_cli.diffusion import moments as module
from pixart_cli.diffusion.moments import Moments, Normaliser


def rows_of(height, width, channels, mean=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, height)[:, None, None]
    return torch.randn(height, width, channels, generator=generator) + ramp * 3 + mean


def moments_of(rows, *heights):
    moments = Moments(len(rows), rows.shape[2], torch.device("cpu"))
    for band in rows.split(heights or len(rows)):
        moments.add(band)
    return moments


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_bands_of_any_height_give_the_moments_of_the_whole(mean, groups):
    rows = rows_of(11, 7, 8, mean)
    means, variances = moments_of(rows, 1, 6, 4).of_groups(groups)
    exact = rows.double().reshape(-1, groups, 8 // groups).transpose(0, 1).flatten(1)
    assert means.dtype is torch.float64
    assert torch.allclose(means, exact.mean(1), rtol=1e-6, atol=1e-6)
    assert torch.allclose(variances, exact.var(1, correction=0), rtol=1e-4 if mean else 1e-6)


def test_averaged_variances_would_be_too_small():
    rows = rows_of(12, 5, 4)
    _, exact = moments_of(rows).of_groups(1)
    bands = [moments_of(band).of_groups(1)[1] for band in rows.split(4)]
    assert torch.stack(bands).mean() < 0.7 * exact


def test_a_band_that_is_cut_does_not_count():
    rows = rows_of(9, 5, 4)
    moments = moments_of(rows, 4, 5)
    moments.cut(1)
    assert len(moments) == 1
    moments.add(rows[4:])
    mean, variance = moments.of_groups(2)
    again_mean, again_variance = moments_of(rows, 4, 5).of_groups(2)
    assert torch.equal(mean, again_mean)
    assert torch.equal(variance, again_variance)


def test_large_bands_are_measured_block_by_block(monkeypatch):
    rows = rows_of(9, 8, 4)
    monkeypatch.setattr("pixart_cli.diffusion.moments._BLOCK", 40)
    _, variance = moments_of(rows).of_groups(2)
    assert torch.allclose(variance, rows.double().unflatten(2, (2, 2)).var((0, 1, 3), correction=0))


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_an_accelerator_measures_the_same(monkeypatch, mean):
    rows = rows_of(9, 8, 4, mean)
    monkeypatch.setattr(module, "_BLOCK_ELSEWHERE", 40)
    flat = rows.reshape(-1, 4)
    count, means, deviations = module._measure_elsewhere(flat)
    exact = flat.double()
    assert count == len(flat)
    assert torch.allclose(means.double(), exact.mean(0), rtol=1e-6, atol=1e-6)
    assert torch.allclose(
        deviations.double(), exact.var(0, correction=0) * count, rtol=1e-4 if mean else 1e-5
    )


def test_half_precision_is_measured_in_float32():
    rows = rows_of(64, 64, 2, mean=5.0).bfloat16()
    mean, variance = moments_of(rows).of_groups(1)
    assert mean.item() == pytest.approx(rows.double().mean().item(), rel=1e-6)
    assert variance.item() == pytest.approx(rows.double().var(correction=0).item(), rel=1e-5)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("activation", [None, nn.SiLU(), nn.ReLU()])
def test_normaliser_is_group_norm_and_activation(affine, activation):
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 8, affine=affine).requires_grad_(requires_grad=False)
    if affine:
        norm.weight.normal_()
        norm.bias.normal_()
    rows = rows_of(10, 6, 8, mean=2.0)
    piece = rows.permute(2, 0, 1)[None]
    expected = norm(piece)
    expected = expected if activation is None else activation(expected)
    normal = Normaliser(norm, moments_of(rows, 3, 7), activation)(piece)
    assert torch.allclose(normal, expected, atol=1e-5)


def test_normaliser_leaves_its_input_alone():
    rows = rows_of(4, 4, 8)
    piece = rows.permute(2, 0, 1)[None]
    before = piece.clone()
    Normaliser(nn.GroupNorm(2, 8), moments_of(rows), nn.SiLU())(piece)
    assert torch.equal(piece, before)


def test_both_ways_to_normalise_half_precision_agree():
    rows = rows_of(6, 5, 8, mean=1.0).bfloat16()
    piece = rows.permute(2, 0, 1)[None]
    normaliser = Normaliser(nn.GroupNorm(4, 8), moments_of(rows), None)
    here = normaliser(piece)
    assert here.dtype is torch.bfloat16
    elsewhere = normaliser.spelled_out(piece)
    assert elsewhere.dtype is torch.bfloat16
    assert torch.allclose(here.float(), elsewhere.float(), atol=0.02)
