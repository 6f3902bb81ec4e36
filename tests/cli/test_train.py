"""`pixart train`: a configuration, or one of its commands, told apart by name."""

import pytest

from pixart_cli.cli.train import named


def test_training_is_on_the_first_page(pixart):
    assert "train" in pixart("--help").out
    page = pixart("train", "--help").out
    assert "pixart train ink.toml" in page
    assert "mini" in page
    assert "the same command" in pixart("train", "run", "--help").out


def test_the_built_in_model_is_trained_by_name(pixart):
    page = pixart("train", "mini", "--help").out
    assert "--out DIR" in page
    assert "goes on" in page


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "a.toml", "--dry-run"], ["train", "run", "a.toml", "--dry-run"]),
        (["train", "--dry-run", "a.toml"], ["train", "run", "--dry-run", "a.toml"]),
        (["train", "a.toml", "--out", "mini"], ["train", "run", "a.toml", "--out", "mini"]),
        (["train", "-h"], ["train", "-h"]),
        (["train", "mini"], ["train", "mini"]),
        (["train", "measure", "-m", "x"], ["train", "measure", "-m", "x"]),
        (["train", "recipes"], ["train", "recipes"]),
        (["train", "run", "mini"], ["train", "run", "mini"]),
        (["train", "--help"], ["train", "--help"]),
        (["train"], ["train"]),
        (["gen", "train"], ["gen", "train"]),
    ],
)
def test_a_configuration_needs_no_command(words, meant):
    assert named(words) == meant


def test_a_folder_for_the_result_is_needed(pixart):
    ran = pixart("train", "mini")
    assert (ran.code, "--out" in ran.err) == (2, True)
    assert pixart("train", "mini", "--out", "x", "--threads", "0").code == 2


def test_the_training_code_is_there():
    from pixart_cli.features.train.mini import MiniRecipe, train_mini

    assert callable(train_mini)
    assert MiniRecipe(seed=1, threads=1).threads == 1
