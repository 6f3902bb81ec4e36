"""What a killed process leaves is removed by the next, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

from pixart_cli.core.unfinished import SUFFIX, prefix, sweep


def abandoned(folder: Path) -> Path:
    """A file of a process that is gone."""
    code = (
        "import tempfile; from pixart_cli.core.unfinished import prefix, SUFFIX\n"
        f"print(tempfile.mkstemp(prefix=prefix(), suffix=SUFFIX, dir={str(folder)!r})[1])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_what_a_process_that_is_gone_left_is_removed(tmp_path: Path) -> None:
    path = abandoned(tmp_path)
    assert path.exists()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_or_somebody_elses_stays(tmp_path: Path) -> None:
    mine = tmp_path / f"{prefix()}abc{SUFFIX}"
    foreign = tmp_path / ".pixart-1-00000000-abc.part"  # on another machine that shares the folder
    others = [tmp_path / name for name in (".pixart-x.part", "a.png", "b.part")]
    for path in (mine, foreign, *others):
        path.write_bytes(b"")
    assert sweep(tmp_path) == 0
    os.utime(foreign, (0, 0))
    assert sweep(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted([mine, *others])


def test_a_link_or_a_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    name = abandoned(tmp_path).name
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}.part").symlink_to(tmp_path / name)
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path / "nonsuch") == 0


def test_the_name_of_the_machine_is_not_told() -> None:
    assert os.uname().nodename not in prefix()
