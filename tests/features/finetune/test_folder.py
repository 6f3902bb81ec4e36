"""The folder of a run: who trains there, and what is removed of an earlier run."""

from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.finetune import folder as module
from pixart_cli.features.finetune.folder import LOCK, alone_in, start_over
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.run import train
from tests.features.finetune.conftest import refused
from tests.features.finetune.test_run import quietly
from tests.processes import abandoned


def test_two_runs_do_not_share_a_folder(configure, tmp_path) -> None:
    from filelock import FileLock

    plan = plan_training(configure())
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / LOCK):
        error = refused(lambda: train(plan, anew=True, on_event=lambda event: None))
    assert (error.code, "another pixart trains in" in error.message) == ("output-invalid", True)


def test_what_is_not_ours_is_neither_replaced_nor_removed(configure, tmp_path) -> None:
    theirs = tmp_path / "run" / "model" / "model_index.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    for name in ("checkpoints/mine/a.txt", "samples/holiday.png"):
        (tmp_path / "run" / name).parent.mkdir(parents=True)
        (tmp_path / "run" / name).write_text("")
    before = sorted((tmp_path / "run").rglob("*"))
    assert refused(lambda: quietly(configure())).code == "output-invalid"
    start_over(plan_training(configure()))
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_a_run_s_beginning_is_not_removed_where_it_cannot_be(configure, monkeypatch) -> None:
    quietly(configure(steps=1))

    def no(path: Path) -> None:
        raise OSError(13, "Permission denied", str(path))

    monkeypatch.setattr(module.shutil, "rmtree", no)
    with pytest.raises(PixartError, match="cannot remove"):
        start_over(plan_training(configure(steps=1)))


def test_what_a_killed_run_was_writing_is_removed(configure, tmp_path) -> None:
    places = [tmp_path / "run" / "checkpoints", tmp_path / "run"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (abandoned(place, folder=True) / "weights.safetensors").write_bytes(b"half")
    with alone_in(plan_training(configure())):
        left = [path.name for place in places for path in place.iterdir()]
    assert sorted(left) == sorted(["checkpoints", LOCK])
