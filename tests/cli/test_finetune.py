"""`pixart train CONFIG.toml`: streams, codes and the plan; a signal saves first."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from tests.features.finetune.conftest import png
from tests.processes import PATIENCE


@pytest.fixture
def config(tmp_path, toy_folder):
    """train.toml for the toy, a line a key; gives a function that writes it."""
    folder = tmp_path / "pics"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(png(256, 256, (60 * index, 20, 30)))
        (folder / f"{index}.txt").write_text("a red sun over the sea")
    (folder / "bare.png").write_bytes(png(256, 256))

    def write(**changes):
        values = {
            "model": str(toy_folder),
            "data": "pics",
            "out": "run",
            "steps": 2,
            "plots": False,
        } | changes
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
        (tmp_path / "train.toml").write_text("".join(lines))
        return "train.toml"

    return write


def test_the_result_is_the_only_line_on_standard_output(pixart, config, tmp_path):
    ran = pixart("train", config())
    assert (ran.code, ran.out) == (0, "run/model\n")
    assert "1 skipped: bare.png: it has no caption" in ran.err
    assert "training 2/2  loss " in ran.err
    assert 'pixart gen "…" --model run/model' in ran.err
    again = pixart("train", config(), "--steps", "3")
    assert "went on from step 2; 3 steps are made" in again.err
    assert (
        pixart("train", config(), "--steps", "3", "-q").err
        == "warning: 1 skipped: bare.png: it has no caption\n"
    )
    anew = pixart("train", config(), "--force", "--json")
    assert anew.json["schema"] == "pixart.train/1"
    assert (anew.json["ok"], anew.json["resumed"], anew.json["steps"]) == (True, 0, 2)
    assert anew.json["skipped"] == [{"name": "bare.png", "why": "it has no caption"}]


def test_a_dry_run_says_the_plan_and_does_nothing(pixart, config, tmp_path):
    config()
    before = sorted(tmp_path.rglob("*"))
    ran = pixart("train", "train.toml", "--dry-run", "--model", "mini", "--steps", "12")
    assert ran.code == 0
    for words in ("mini, 6,962,976 parameters", "3: 3 at 256x256", "12 of 1 pictures", "run/model"):
        assert words in ran.out
    assert all(row in ran.out for row in ("memory ", "time ", "optimizer ", "loss "))
    told = pixart("train", "train.toml", "--dry-run", "--json").json
    assert (told["dry_run"], told["plan"]["pictures"], told["plan"]["batch"]) == (True, 3, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes_name_the_line(pixart, config):
    ran = pixart("train", config(stpes=3))
    assert (ran.code, ran.out) == (2, "")
    assert "train.toml:6: unknown key 'stpes'" in ran.err
    assert "Did you mean 'steps'?" in ran.err
    failed = pixart("train", config(steps=0), "--json").json
    assert (failed["ok"], failed["error"]["code"]) == (False, "config-invalid")
    assert pixart("train", "nowhere.toml").code == 2
    assert pixart("train", config(model="mimi")).code == 2
    assert pixart("train", config(data="empty")).code == 2


def test_recipes_are_listed(pixart):
    ran = pixart("train", "recipes")
    for name in ("vae-swap", "resolution", "kv-compress", "lora", "dreambooth"):
        assert name in ran.out
    assert {row["name"] for row in pixart("train", "recipes", "--json").json["recipes"]} >= {"lora"}


def test_a_signal_does_not_hide_that_nothing_was_saved(pixart, config, monkeypatch):
    from pixart_cli.features.finetune import run

    def stopped(plan, *, hold, **_options):
        with hold() as stopping:
            assert not stopping()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping()
            raise PixartError("disk", "no space left", "Free some.")

    monkeypatch.setattr(run, "train", stopped)
    ran = pixart("train", config())
    assert ran.code == 143
    assert "finishing this step, then saving" in ran.err
    assert ran.err.endswith("error: no space left\nerror: terminated\n")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_saves_and_leaves(config, tmp_path):
    config(steps=100_000, save_every=100_000, log_every=1)
    metrics = tmp_path / "run" / "metrics.jsonl"
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    running = subprocess.Popen(
        [sys.executable, "-m", "pixart_cli", "train", "train.toml"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
    )  # fmt: skip
    try:
        while running.poll() is None and not metrics.exists():
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
    assert (running.returncode, out) == (143, ""), err
    assert "saved at step" in err
    assert err.endswith("error: terminated\n")
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    steps = len(metrics.read_text().splitlines())
    assert saved.name == f"step-{steps:08d}"
