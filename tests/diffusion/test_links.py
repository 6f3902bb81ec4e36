"""Tensors between four real processes, and what becomes of it when one is gone."""

import pytest
import torch
from torch.distributed import HashStore

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.links import Links


def test_everyone_gathers_from_all_in_order(four_processes):
    for team in (2, 3, 4):
        for process in four_processes[:team]:
            assert process[f"gathered {team}"] == [[rank, -rank] for rank in range(team)]
            assert process[f"broadcast {team}"] == [[10.0]]


def test_a_half_gathers_within_itself(four_processes):
    assert [process["halves"] for process in four_processes] == [[[0], [1]]] * 2 + [[[2], [3]]] * 2


def test_a_process_that_is_gone_is_missed_at_once(four_processes):
    for process in four_processes[:3]:
        assert process["lost"][0] == "process-lost"
        assert process["seconds"] < 60


@pytest.fixture
def links():
    """To nobody else."""
    alone = Links(0, 1)
    alone.open("alone", HashStore(), "cpu")
    yield alone
    alone.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_every_precision_passes_bit_by_bit(links, dtype):
    tensor = torch.arange(12).to(dtype).reshape(3, 4).T
    assert torch.equal(links.gather(tensor), tensor[None])
    assert torch.equal(links.broadcast(tensor), tensor)
    assert links.gather(tensor[:0]).shape == (1, 0, 3)


def test_closing_twice_is_no_mistake_and_opening_again_neither(links):
    links.close()
    links.close()
    assert links.name is None
    links.open("again", HashStore(), "cpu")
    assert links.name == "again"


def test_what_watch_raises_ends_the_wait_for_a_broken_connection():
    def news():
        raise PixartError("weights-invalid", "torn")

    def broken():
        raise RuntimeError("Connection closed by peer")

    with pytest.raises(PixartError, match="torn"):
        Links(0, 2, news)._finish(broken)


def test_memory_that_runs_out_is_not_taken_for_a_lost_process():
    def exhausted():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Links(0, 2)._finish(exhausted)
