"""Teams: shares add up, gradients are averaged and clocks agreed on over real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixart_cli.features.train.team import Team, join_team, own_device
from tests.processes import PATIENCE, free_port

ROOT = Path(__file__).parents[3]
CODE = """
import torch
from pixart_cli.features.train.team import join_team
team = join_team()
p = torch.nn.Parameter(torch.zeros(3))
q = torch.nn.Parameter(torch.zeros(2, 2))
p.grad, q.grad = torch.full((3,), 1.0 + team.rank), torch.full((2, 2), 10.0 * team.rank)
team.average_gradients([p, q])
rows = torch.arange(5.0)[:, None].repeat(1, 2).bfloat16()
done = team.spread(lambda mine: mine * 2 + len(mine) / 4, rows)
assert done.dtype == torch.bfloat16 and done.tolist() == [[2.0 * n + 0.75] * 2 for n in range(5)], done
print(p.grad.tolist(), q.grad.flatten().tolist(), team.leads, team.agreed(0.1 + team.rank))
"""


@pytest.mark.parametrize(("count", "size"), [(32, 2), (3, 2), (10, 4)])
def test_shares_add_up(count: int, size: int) -> None:
    assert sum(Team(rank, size).share(count) for rank in range(size)) == count


def test_alone_chance_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_team() == Team(0, 1)
    assert Team().chance("x") == "x"
    assert Team().agreed(0.1) == 0.1
    assert torch.equal(Team().spread(torch.neg, torch.ones(3)), -torch.ones(3))
    assert Team(0, 2).chance("x") != Team(1, 2).chance("x")


@pytest.mark.parametrize(("local_rank", "card"), [("0", 0), ("2", 2), ("5", 1)])
def test_each_process_has_a_gpu_of_its_own(
    local_rank: str, card: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert own_device() == torch.device("cuda", 0)
    environ = {
        "RANK": "9",
        "WORLD_SIZE": "12",
        "LOCAL_RANK": local_rank,
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert own_device() == torch.device("cuda", card)


def test_two_processes_share_work_average_gradients_and_go_by_one_clock(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    team = [
        subprocess.Popen(
            [sys.executable, "-c", CODE], env=environ | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=PATIENCE)[0].strip() for process in team]
    assert outputs == [f"[1.5, 1.5, 1.5] [5.0, 5.0, 5.0, 5.0] {leads} 0.1" for leads in (True, False)]
