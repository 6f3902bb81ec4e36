"""A batch killed, or told no by the disk, at some of the points that `make crash` tries all of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
ROOT = Path(__file__).resolve().parents[3]


LEAST = {
    "kill --every 43": 3,
    "fail fsync EIO --every 3": 2,
    "fail write ENOSPC --every 3": 1,
    "fail link,linkat EROFS --every 2": 1,
}


@pytest.fixture(scope="module")
def tried() -> dict[str, dict]:
    """What came of each of `LEAST`, tried by one process."""
    words = " then ".join(LEAST).split()
    done = subprocess.run(
        [sys.executable, "-m", "tests.features.batch.crash", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if "did not attach" in done.stderr:
        pytest.skip("this system lets no process trace another")
    assert done.stdout, done.stderr
    return dict(zip(LEAST, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("what", LEAST)
def test_whatever_ends_a_batch_nothing_is_lost_or_drawn_twice(tried, what):
    assert tried[what]["wrong"] == []
    assert tried[what]["points"] >= LEAST[what]


def test_the_order_on_the_disk_is_flush_then_name_then_flush_the_folder(tmp_path):
    code = (
        "from pathlib import Path; from pixart_cli.core.publish import publish\n"
        f"publish(b'picture', Path({str(tmp_path / 'out' / 'a.png')!r}))"
    )
    log = tmp_path / "log"
    calls = "trace=write,fsync,link,linkat,unlink,unlinkat"
    argv = ["strace", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True)
    if done.returncode:
        pytest.skip("this system lets no process trace another")
    lines = [line for line in log.read_text().splitlines() if "/out" in line]
    order = [line.partition("(")[0].removesuffix("at") for line in lines]
    assert order == ["write", "fsync", "link", "unlink", "fsync"]
    assert ".part" in lines[1]
    assert lines[-1].count("/out>") == 1


def test_a_folder_that_cannot_be_written_ends_the_batch_before_it_draws(pixart, tmp_path, stand_in):
    (tmp_path / "list.txt").write_text("sun\n")
    (tmp_path / "out").write_text("a file")
    ran = pixart("batch", "list.txt", "-o", "out/", "-r", "64x48")
    assert (ran.code, stand_in.drawn) == (9, [])
