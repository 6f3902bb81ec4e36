"""Weights that are not here: nothing is fetched unless the size was said and a person, or --yes, agreed."""

import shutil

import pytest

from pixart_cli.cli.app import run
from pixart_cli.cli.consent import is_offline
from pixart_cli.core.metadata import read_record
from tests.loopback_hub import Fault, go_online, online, serving, toy_repos
from tests.terminal import answer, answer_here

ARGS = ("gen", "a red sun", "-m", "sigma-256", "-r", "64x64", "--steps", "1", "-o", "x.png")


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


@pytest.fixture
def hub(repos):
    """A hub on the loopback that holds the toy as sigma-256."""
    with serving({repo: dict(files) for repo, files in repos.items()}) as hub:
        yield hub


@pytest.fixture
def here(hub, monkeypatch):
    """Lets this process use the hub."""
    go_online(monkeypatch, hub.address)


@pytest.mark.parametrize("switch", [("--offline",), ()])
def test_offline_never_asks_the_network(press, here, hub, monkeypatch, switch):
    if not switch:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = press(*ARGS, "--yes", *switch)
    assert (done.code, hub.asked) == (3, [])
    assert "not on this machine" in done.err


def test_without_a_terminal_yes_must_be_typed(press, here, hub):
    done = press(*ARGS)
    assert (done.code, hub.asked) == (3, [])
    assert "--yes" in done.err
    # What other models left here may be much of it, and only the hub knows the rest.
    assert "(at most about 19 GB)" in done.err


def test_yes_announces_the_size_fetches_and_draws(press, here, tmp_path):
    done = press(*ARGS, "--yes")
    assert (done.code, done.out) == (0, "x.png\n")
    assert "sigma-256 is not on this machine" in done.err
    assert "B to download" in done.err
    assert read_record(tmp_path / "x.png").request.model == "sigma-256"


@pytest.mark.parametrize("text", [b"n\n", b"\n"])
def test_a_person_who_does_not_agree_gets_no_download(here, hub, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    code, seen = answer_here(ARGS, text, monkeypatch)
    assert code == 3
    assert "Download it now? [y/N]" in seen
    assert hub.fetched("") == 0


def test_a_person_who_agrees_gets_the_picture(hub, tmp_path):
    code, seen = answer(ARGS, b"y\n", cwd=tmp_path, env=online(hub))
    assert (code, (tmp_path / "x.png").is_file()) == (0, True)
    assert "downloading" in seen
    assert "11/11" in seen


def test_a_hub_that_does_not_answer_is_told(press, here, hub):
    hub.faults = [Fault("info", "status", "", -1, 404, {"X-Error-Code": "RepoNotFound"})]
    done = press(*ARGS, "--yes")
    assert (done.code, done.out) == (3, "")
    assert "Traceback" not in done.err


def test_the_built_in_model_and_folders_are_never_fetched(tmp_path, capfd, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert run(["gen", "sun", "-m", str(tmp_path / "empty"), "--yes", "--json"]) in (2, 3, 4)
    assert "ok" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("HF_HUB_OFFLINE", "ON", True), ("TRANSFORMERS_OFFLINE", "1", True), ("HF_HUB_OFFLINE", "0", False)],
)
def test_the_hub_s_own_switches_count(monkeypatch, variable, value, expected):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, value)
    assert is_offline({"offline": False}) is expected
    assert is_offline({"offline": True})


def test_a_folder_gets_the_shared_parts_that_it_lacks_once_agreed_to(
    toy_folder, tmp_path, monkeypatch, capfd
):
    folder = shutil.copytree(toy_folder, tmp_path / "mine")
    for component in ("tokenizer", "text_encoder", "vae"):
        shutil.rmtree(folder / component)
    monkeypatch.chdir(tmp_path)
    words = ["gen", "a red sun", "-m", "mine/", "-r", "256x128", "--steps", "1", "--draft", "-o", "x.png"]
    with serving(toy_repos(toy_folder)) as hub:
        go_online(monkeypatch, hub.address)
        assert run([*words, "--offline", "--yes"]) == 3
        assert run(words) == 3
        assert "Or add --yes, and they are downloaded." in capfd.readouterr().err
        assert hub.asked == []
        assert run([*words, "--yes"]) == 0
        assert "what mine/ lacks is not on this machine: " in capfd.readouterr().err
        assert hub.fetched("transformer/") == 0
        asked = len(hub.asked)
        assert run([*words, "--force"]) == 0
        assert len(hub.asked) == asked
    assert (tmp_path / "x.png").exists()
