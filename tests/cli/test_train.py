"""`pixart train`: reachable by name, absent from the first page, and its mistakes told."""


def test_training_is_hidden_and_reachable(pixart):
    assert "train" not in pixart("--help").out
    page = pixart("train", "mini", "--help").out
    assert "--out DIR" in page
    assert "goes on" in page


def test_a_folder_for_the_result_is_needed(pixart):
    ran = pixart("train", "mini")
    assert (ran.code, "--out" in ran.err) == (2, True)
    assert pixart("train", "mini", "--out", "x", "--threads", "0").code == 2


def test_the_training_code_is_there():
    from pixart_cli.features.train.mini import MiniRecipe, train_mini

    assert callable(train_mini)
    assert MiniRecipe(seed=1, threads=1).threads == 1
