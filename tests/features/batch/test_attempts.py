"""A picture that kills the process three times is passed over, and any other death blames nobody for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from pixart_cli.core.unfinished import SUFFIX, prefix
from pixart_cli.features.batch.attempts import MOST, Attempts
from pixart_cli.features.batch.engine import Failed
from tests.features.batch.conftest import entry

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def gone(tmp_path_factory):
    """The name of the note that a process left which was killed while it drew."""
    folder = tmp_path_factory.mktemp("gone")
    code = (
        "import os; from pathlib import Path; from pixart_cli.features.batch.attempts import Attempts\n"
        f"Attempts(Path({str(folder)!r})).begin('0' * 64); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    (marker,) = folder.iterdir()
    return marker.name


def kill(folder, gone, fingerprint):
    folder.mkdir(exist_ok=True)
    (folder / gone).write_text(fingerprint[:16])


def test_after_three_deaths_a_picture_is_a_failure_and_the_others_are_drawn(runs, resolver, gone):
    jobs = [entry("sun", 1), entry("killer", 2), entry("moon", 3)]
    fingerprint = resolver.tasks(jobs[1], 0)[0].fingerprint
    for _ in range(MOST):
        kill(runs.folder / "out", gone, fingerprint)
        Attempts(runs.folder / "out")  # a run that was killed again
    events = list(runs.events(jobs))
    failed = [event for event in events if isinstance(event, Failed)]
    assert [(each.task.entry.line, each.error.code) for each in failed] == [(2, "process-killed")]
    assert len(runs.there()) == 2
    assert "process-killed" in (runs.folder / "out" / "failed.txt").read_text()
    assert len(runs.drawn(jobs)) == 1  # it is given another chance


def test_a_container_that_is_started_again_counts_its_own_deaths(tmp_path):
    """There every process has the number of the one that was killed."""
    for _ in range(MOST):
        (tmp_path / f"{prefix()}drawing{SUFFIX}").write_text("0" * 16)
        attempts = Attempts(tmp_path)
    assert attempts.refuse("0" * 64).code == "process-killed"


def test_a_picture_that_is_made_in_the_end_is_forgiven(runs, resolver, gone):
    (task,) = resolver.tasks(entry("sun"), 0)
    for _ in range(MOST - 1):
        kill(runs.folder / "out", gone, task.fingerprint)
        Attempts(runs.folder / "out")
    assert len(runs.drawn([entry("sun")])) == 1
    assert runs.there() == [task.paths[0].name]


def test_a_clean_end_leaves_no_note(tmp_path):
    attempts = Attempts(tmp_path / "out")
    attempts.begin("a" * 64)
    attempts.begin("b" * 64)
    (marker,) = (tmp_path / "out").iterdir()
    assert marker.read_text() == "b" * 16
    attempts.close()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"x": "y"}', "{" * 9, "\xff"])
def test_damaged_notes_are_none(tmp_path, gone, text):
    (tmp_path / ".pixart-killed.json").write_text(text, encoding="latin-1")
    (tmp_path / gone).write_text("cut")
    assert Attempts(tmp_path).refuse("x" * 64) is None
