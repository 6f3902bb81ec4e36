"""One command line run by several processes, as torchrun starts them: one picture, one message, one code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixart_cli.cli.crew import run_together
from tests.processes import PATIENCE, free_port

ROOT = Path(__file__).parents[2]
SMALL = ("-r", "256x144", "-s", "7", "--steps", "2")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of processes that run this checkout in another folder."""
    return dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def torchrun(environ: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line of `pixart` in two processes."""

    def command(*args: object) -> subprocess.CompletedProcess[str]:
        port = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
        argv = ["-m", "torch.distributed.run", *port, "--nproc-per-node", "2", "-m", "pixart_cli"]
        return subprocess.run(
            [sys.executable, *argv, *map(str, args)],
            env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    return command


def test_alone_a_command_line_runs_as_ever(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert run_together(["gen", "x"], len) == 2


def test_training_has_its_own_way_to_work_together(monkeypatch):
    for name, text in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, text)
    assert run_together(["--debug", "train", "mini"], lambda words: 3) == 3


def test_a_plan_says_that_it_is_that_of_one_process(pixart, monkeypatch):
    for name, text in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, text)
    plan = pixart("gen", "a red sun", "--dry-run", "--json").json["plan"]
    assert plan["reasons"][-1].startswith("4 processes share each picture; memory and time are those of one")


def test_two_processes_draw_the_picture_of_one(torchrun, press, toy_folder, tmp_path):
    assert press("gen", "a red sun", "-m", toy_folder, *SMALL, "-o", "one.png").code == 0
    done = torchrun("gen", "a red sun", "-m", toy_folder, *SMALL, "-o", "two.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two.png\n"
    assert "on cpu in 2 processes, seed 7" in done.stderr
    assert done.stderr.count("seed 7") == 2  # what will be drawn, and what was, by one process
    one, two = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("one.png", "two.png"))
    assert np.abs(one - two).max() <= 1


def test_a_failure_is_told_once_and_its_code_is_torchruns_cause(torchrun, toy_folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(toy_folder, broken)
    path = next((broken / "transformer").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    done = torchrun("gen", "a red sun", "-m", broken, *SMALL, "-o", "two.png")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1
    cause = done.stderr.split("Root Cause")[1]
    assert "exitcode  : 4 " in cause


@pytest.fixture
def drawing(environ, toy_folder, tmp_path):
    """Two processes in the middle of many pictures: one is drawn already."""
    environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    argv = [sys.executable, "-m", "pixart_cli", "gen", "a red sun", "-m", toy_folder, *SMALL, "-n", "999"]
    running = [
        subprocess.Popen(
            [*map(str, argv), "-o", "out/"], env=environ | {"RANK": str(rank)}, cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    until = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("out/*.png")) and time.monotonic() < until:
        time.sleep(0.1)
    yield running
    for process in running:
        process.kill()
        process.communicate()


def test_a_helper_that_is_killed_ends_the_drawing_with_one_message(drawing):
    leader, helper = drawing
    helper.kill()
    _, said = leader.communicate(timeout=PATIENCE)
    assert leader.returncode == 1
    assert said.count("error: ") == 1
    assert "error: one of the processes that draw together is gone" in said


def test_ctrl_c_ends_all_with_one_message(drawing):
    for process in drawing:
        process.send_signal(signal.SIGINT)
    said = [process.communicate(timeout=PATIENCE)[1] for process in drawing]
    assert [process.returncode for process in drawing] == [130, 130]
    assert said[0].endswith("error: interrupted\n")
    assert said[1] == ""
