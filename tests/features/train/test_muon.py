"""Muon: what a step does to matrices, beside PyTorch's own."""

import pytest
import torch
from torch import nn

from pixart_cli.features.train.muon import Muon, orthogonal

SHAPES = ((24, 16), (16, 24), (16, 16), (24, 16))


def _matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def test_all_singular_values_become_about_one() -> None:
    matrices = torch.randn(3, 32, 20, generator=torch.Generator().manual_seed(0))
    turned = orthogonal(matrices).float()
    assert turned.shape == matrices.shape
    values = torch.linalg.svdvals(turned)
    assert ((values > 0.6) & (values < 1.3)).all()
    assert ((turned * matrices).sum(dim=(1, 2)) > 0).all()  # the same way


def test_steps_are_those_of_pytorch() -> None:
    ours, theirs = _matrices(), _matrices()
    mine = Muon(ours, lr=torch.tensor(0.01), momentum=0.9)
    reference = torch.optim.Muon(
        theirs, lr=0.01, weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b, start in zip(ours, theirs, _matrices(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)
        assert (a - start).abs().max() > 0.01


def test_a_matrix_without_a_gradient_stays() -> None:
    first, second = _matrices()[:2]
    first.grad = torch.ones_like(first)
    before = second.detach().clone()
    Muon([first, second], lr=0.1).step()
    assert torch.equal(second, before)


def test_it_goes_on_from_its_state() -> None:
    unbroken, stopped = _matrices(), _matrices()
    whole, first = Muon(unbroken, lr=0.05), Muon(stopped, lr=0.05)
    _step(whole, unbroken, 0)
    _step(first, stopped, 0)
    second = Muon(stopped, lr=0.05)
    second.load_state_dict(first.state_dict())
    _step(whole, unbroken, 1)
    _step(second, stopped, 1)
    assert all(torch.equal(a, b) for a, b in zip(unbroken, stopped, strict=True))


def _step(optimizer: Muon, matrices: list[nn.Parameter], number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator)
    optimizer.step()


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
