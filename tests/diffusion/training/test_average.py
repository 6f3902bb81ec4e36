"""The moving average of the weights."""

import pytest
import torch

from pixart_cli.diffusion.training.average import Average


def test_the_decay_grows_to_what_was_asked_for() -> None:
    weight = torch.zeros(1)
    average = Average({"w": weight}, 0.5)
    weight += 1
    average.move(1)  # keeps 2/11
    assert average.tensors["w"].item() == pytest.approx(9 / 11)
    average.move(1000)  # keeps a half
    assert average.tensors["w"].item() == pytest.approx(10 / 11)


def test_it_steps_in_and_out_to_the_bit() -> None:
    weight = torch.nn.Parameter(torch.randn(5))
    before = weight.detach().clone()
    average = Average({"w": weight}, 0.9)
    average.tensors["w"] += 1

    def work() -> None:
        with average.in_place():
            assert torch.equal(weight, average.tensors["w"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert torch.equal(weight, before)


def test_without_a_decay_there_is_none() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    average = Average({"w": weight}, 0.0)
    average.move(1)
    assert average.tensors == {}
    with average.in_place():
        assert weight.tolist() == [1, 1]
