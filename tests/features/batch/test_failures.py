"""`failed.txt`: readable, complete, and never in the way of what somebody else wrote."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.features.batch.failures import Failures, is_failures, whole
from tests.features.batch.conftest import entry
from tests.processes import PATIENCE

ROOT = Path(__file__).parents[3]

ERROR = PixartError("out-of-memory", "memory\x1b ran\nout", "Buy some.")


def fail(path, *prompts):
    failures = Failures(path)
    for prompt in prompts:
        failures.add(entry(prompt, seed=1), ERROR, f"{prompt.encode().hex():0<64}")
    failures.save()


def test_it_is_a_prompt_list_with_reasons(tmp_path):
    path = tmp_path / "failed.txt"
    fail(path, "a red\nsun", "# {x|y}")
    text = path.read_text()
    assert "out-of-memory: memory\\x1b ran out (list.txt:1)" in text
    assert [job.prompt for job in read_jobs(text.splitlines(), name="x")] == ["a red\nsun", "# {x|y}"]
    assert is_failures(path)


def test_what_was_made_is_taken_out_and_an_empty_list_removed(tmp_path):
    path = tmp_path / "failed.txt"
    fail(path, "a", "b")
    for prompt, left in (("a", True), ("b", False)):
        failures = Failures(path)
        failures.settle(f"{prompt.encode().hex():0<64}")
        failures.save()
        assert path.exists() is left
    assert not is_failures(path)


def test_two_runs_beside_each_other_lose_none(tmp_path):
    path = tmp_path / "failed.txt"
    first, second = Failures(path), Failures(path)
    for failures, prompt in ((first, "a"), (second, "b"), (first, "c")):
        failures.add(entry(prompt), ERROR, f"{prompt.encode().hex():0<64}")
        failures.save()
    assert [job.prompt for job in read_jobs(path.read_text().splitlines(), name="x")] == ["b", "a", "c"]


SEVERAL = """
import sys
from pathlib import Path
from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.failures import Failures
from tests.features.batch.conftest import entry
sys.stdin.read(1)
for number in range(25):
    failures, prompt = Failures(Path("failed.txt")), f"{sys.argv[1]}{number}"
    failures.add(entry(prompt), PixartError("disk", "full", ""), f"{prompt.encode().hex():0<64}")
    failures.save()
"""


def test_processes_that_write_at_once_lose_none(tmp_path):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    team = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL, name], cwd=tmp_path, env=environ, stdin=subprocess.PIPE
        )
        for name in "abc"
    ]
    for process in team:
        assert process.stdin
        process.stdin.write(b".")
        process.stdin.flush()
    for process in team:
        process.communicate(timeout=PATIENCE)
    jobs = read_jobs((tmp_path / "failed.txt").read_text().splitlines(), name="x")
    assert {job.prompt for job in jobs} == {f"{name}{n}" for name in "abc" for n in range(25)}
    assert [path.name for path in tmp_path.iterdir()] == ["failed.txt"]


def test_who_holds_the_list_for_ever_is_not_waited_for(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr("pixart_cli.features.batch.failures._PATIENCE", 0.1)
    path = tmp_path / "failed.txt"
    fail(path, "a")
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fail(path, "b")
    assert len(list(read_jobs(path.read_text().splitlines(), name="x"))) == 2


def test_a_full_disk_leaves_no_empty_list(tmp_path, monkeypatch):
    def full(*_, **__):
        raise PixartError("disk", "full", "")

    monkeypatch.setattr("pixart_cli.features.batch.failures.publish", full)
    with pytest.raises(PixartError):
        fail(tmp_path / "failed.txt", "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path):
    path, elsewhere = tmp_path / "failed.txt", tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    fail(path, "a")
    assert not elsewhere.exists()
    assert is_failures(path)


def test_text_of_somebody_else_stays(tmp_path):
    path = tmp_path / "failed.txt"
    path.write_bytes(b"# mine \xff\nmy prompt\n")
    fail(path, "a")
    assert path.read_bytes().count(b"# mine \xff\nmy prompt\n") == 1
    failures = Failures(path)
    failures.settle(f"{b'a'.hex():0<64}")
    failures.save()
    assert b"my prompt" in path.read_bytes()


def test_without_news_nothing_is_written(tmp_path):
    fail(tmp_path / "failed.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_entry_repeats_what_was_typed_for_the_batch():
    typed = {"steps": 3, "res": "64x64", "output": "out/", "json": True, "negative": None, "device": "cpu"}
    job = whole(entry("x", res="32x32", count=4), typed, 9)
    assert job.options == {"res": "32x32", "steps": 3, "output": "out/", "seed": 9}
