"""Where torchrun's variables put a process."""

import pytest

from pixart_cli.core.crew import Place, place

OF_TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


def test_torchrun_says_which_one_this_is():
    here = place(OF_TORCHRUN)
    assert here == Place(rank=3, size=4, local_rank=1)
    assert (here.alone, here.leads) == (False, False)
    assert place(OF_TORCHRUN | {"RANK": "0"}).leads


def test_without_a_local_rank_all_are_on_one_machine():
    assert place({name: text for name, text in OF_TORCHRUN.items() if name != "LOCAL_RANK"}).local_rank == 3


@pytest.mark.parametrize(
    "changes",
    [{name: ""} for name in OF_TORCHRUN if name != "LOCAL_RANK"]
    + [{"RANK": "4"}, {"RANK": "-1"}, {"RANK": "first"}, {"WORLD_SIZE": "many"}]
    + [{"RANK": "0", "WORLD_SIZE": "1"}],
    ids=str,
)  # fmt: skip
def test_whoever_is_not_wholly_described_is_alone(changes):
    assert place(OF_TORCHRUN | changes).alone
    assert place({}) == Place()
