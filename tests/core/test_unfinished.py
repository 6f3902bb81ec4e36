"""What a killed process leaves is removed by the next, and nothing else is."""

import os
from pathlib import Path

from pixart_cli.core.unfinished import SUFFIX, held, prefix, sweep
from tests.processes import abandoned


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
    with held(mine):
        assert sweep(tmp_path) == 0
        os.utime(foreign, (0, 0))
        assert sweep(tmp_path) == 1
        assert sorted(tmp_path.iterdir()) == sorted([mine, *others])


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    (abandoned(tmp_path, folder=True) / "half").write_bytes(b"")
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_link_of_that_name_is_left_alone(tmp_path: Path) -> None:
    path = abandoned(tmp_path)
    path.unlink()
    (tmp_path / "kept").mkdir()
    path.symlink_to(tmp_path / "kept")
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path / "nonsuch") == 0
    assert path.is_symlink()


def test_the_name_of_the_machine_is_not_told() -> None:
    assert os.uname().nodename not in prefix()


def test_what_somebody_holds_is_left_alone_whatever_its_number_means_here(tmp_path: Path) -> None:
    """In another container the writer's number may be anybody's here, or nobody's."""
    with held(abandoned(tmp_path)), held(abandoned(tmp_path, folder=True)):
        assert sweep(tmp_path) == 0
    assert sweep(tmp_path) == 2


def test_a_number_that_is_this_process_s_own_again_says_nothing(tmp_path: Path) -> None:
    """The first process of a container has the same number every time the container is started."""
    path = tmp_path / f"{prefix()}abc{SUFFIX}"
    path.write_bytes(b"")
    with held(path):
        assert sweep(tmp_path) == 0
    assert sweep(tmp_path) == 1
