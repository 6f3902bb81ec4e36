"""Orders and failures: between four real processes, and between two crews that share a store."""

import pytest
import torch
from torch.distributed import HashStore

from pixart_cli.core.crew import Place
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.crew import Crew
from pixart_cli.diffusion.pulse import Pulse


@pytest.fixture
def two():
    """The leader's and the helper's view of one crew."""
    store = HashStore()
    return [Crew(Place(rank=rank, size=2, local_rank=rank), store) for rank in (0, 1)]


def test_the_failure_of_one_is_everyones_and_the_next_order_is_free_of_it(four_processes):
    for rank, process in enumerate(four_processes):
        torn, bug, memory, fine = process["told"]
        assert torn == ["weights-invalid", "torn"]
        where = "a bug in pixart, in process 0 of 4: RuntimeError: shape"
        assert bug == (["itself", "shape"] if rank == 0 else ["bug", where])
        assert memory == ["MemoryError", "" if rank == 2 else "memory ran out in process 2 of 4"]
        assert fine == ["none", ""]


def test_orders_come_in_order_and_the_last_says_how_to_end(two):
    leader, helper = two
    leader.send({"draw": 1})
    leader.send({"draw": 2})
    assert [helper.receive()["draw"] for _ in range(2)] == [1, 2]
    helper.leave()
    leader.dismiss(5)
    assert helper.receive()["end"] == 5


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PixartError("disk", "full", "Free some."), "disk", "full"),
        (KeyboardInterrupt(), "interrupted", "process 1 of 2 was ended"),
        (ValueError("odd"), "bug", "process 1 of 2: ValueError: odd"),
    ],
)
def test_what_a_helper_reports_the_leader_raises(two, error, code, words):
    leader, helper = two
    leader.send({})
    helper.receive()
    with pytest.raises(type(error)), helper.attempt():
        raise error
    with pytest.raises(PixartError, match=words) as caught:
        leader.meet("cpu")
    assert caught.value.code == code
    assert caught.value.hint == getattr(error, "hint", "")
    assert ("odd" in "".join(getattr(caught.value, "__notes__", []))) == (code == "bug")


def test_the_first_failure_counts(two):
    leader, helper = two
    leader.send({})
    helper.receive()
    for crew, words in ((helper, "first"), (leader, "second")):
        with pytest.raises(PixartError), crew.attempt():
            raise PixartError("disk", words)
    with pytest.raises(PixartError, match="first"):
        leader.check()


def test_every_process_has_a_gpu_of_its_own(two, monkeypatch):
    leader, helper = two
    assert [crew.own_device("cpu") for crew in two] == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [crew.own_device("cuda:0") for crew in two] == ["cuda:0", "cuda:1"]
    with pytest.raises(PixartError, match="is one GPU"):
        leader.own_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(PixartError, match="finds no cuda:1"):
        helper.own_device("cuda:0")


def test_a_leader_that_is_heard_no_more_is_not_waited_for(two):
    leader, helper = two
    helper.pulse = Pulse(1, 2, helper._store, silence=0.2)
    leader.pulse.beat(1)
    with pytest.raises(PixartError, match="process 0 of 2 is not heard") as caught:
        helper.receive()
    assert caught.value.code == "process-lost"
