"""`pixart models`: the list, and where the parts are."""

from pixart_cli.core.catalog import catalog


def test_every_model_is_listed_with_whether_it_is_here(pixart):
    lines = pixart("models", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == list(catalog())
    assert "not here" in next(line for line in lines if line.startswith("sigma-1024"))
    document = pixart("models", "list", "--json").json
    assert document["schema"] == "pixart.models/1"
    absent = next(model for model in document["models"] if model["name"] == "sigma-1024")
    assert (absent["installed"], absent["problem"]["code"]) == (False, "model-missing")


def test_the_parts_of_a_folder_are_printed(pixart, toy_folder):
    ran = pixart("models", "path", toy_folder)
    assert (ran.code, len(ran.out.splitlines())) == (0, 5)
    assert f"{toy_folder}/vae" in ran.out.splitlines()
    parts = pixart("models", "path", toy_folder, "--json").json["parts"]
    assert parts["transformer"] == f"{toy_folder}/transformer"


def test_a_model_that_is_not_here_has_no_path(pixart):
    ran = pixart("models", "path", "sigma-256")
    assert (ran.code, ran.out) == (3, "")
    assert pixart("models", "path", "sigma").code == 2
