"""Where a training reads and writes: what cannot be is told before anything is read."""

import shutil
from pathlib import Path

import pytest

from pixart_cli.features.finetune.places import check_places
from tests.features.finetune.conftest import refused


@pytest.mark.parametrize("key", ["data", "class_data"])
def test_results_do_not_go_where_pictures_are_read(configure, tmp_path, key: str) -> None:
    changes = {"class_prompt": "a dog"} if key == "class_data" else {}
    config = configure(**{key: str(tmp_path), "out": str(tmp_path / "a" / "run")}, **changes)
    error = refused(lambda: check_places(config))
    assert f"out lies in {key}" in error.message
    assert config.origins["out"] in error.message


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_file_is_no_place_for_results(configure, tmp_path, below: str) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    config = configure(out=str(tmp_path / "notes.txt" / below))
    error = refused(lambda: check_places(config))
    assert (error.exit_code, "notes.txt is a file" in error.message) == (9, True)
    assert config.origins["out"] in error.message


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_told_before_training(configure) -> None:
    config = configure(out="/proc/self/run")
    error = refused(lambda: check_places(config))
    assert (error.exit_code, "cannot write to" in error.message) == (9, True)
    assert config.origins["out"] in error.message


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", ["model", "model-00000002"])
@pytest.mark.parametrize("export_at", [[2], []])  # an earlier run's results are removed by --force
def test_a_model_is_not_trained_into_its_own_place(
    configure, tmp_path, toy_folder, name: str, method: str, export_at: list[int]
) -> None:
    shutil.copytree(toy_folder, tmp_path / "run" / name)
    config = configure(model=str(tmp_path / "run" / name), method=method, export_at=export_at)
    assert "out holds the model" in refused(lambda: check_places(config)).message
    other = configure(vae=str(tmp_path / "run" / name / "vae"), method="full")
    assert "out holds the VAE" in refused(lambda: check_places(other)).message


def test_a_model_beside_the_results_may_be_trained(configure, tmp_path, toy_folder) -> None:
    shutil.copytree(toy_folder, tmp_path / "run" / "models" / "mine")
    check_places(configure(model=str(tmp_path / "run" / "models" / "mine")))
