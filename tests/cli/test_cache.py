"""`pixart models cache`, and the second picture of a prompt through the whole program."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixart_cli.core.paths import cache_dir
from pixart_cli.diffusion.embeds import TINY_BYTES, kept


def fill(count):
    for number in range(count):
        kept(1_000_000).write(str(number), b"x" * 1500)


def test_count_bytes_and_place_are_shown(pixart):
    fill(2)
    ran = pixart("models", "cache")
    assert ran.code == 0
    rows = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert rows == {"prompts": "2", "size": "3 kB of at most 512 MB", "place": str(cache_dir() / "embeds")}


def test_clear_empties_it(pixart):
    fill(3)
    ran = pixart("models", "cache", "--clear")
    assert (ran.code, ran.out.splitlines()[0].split(maxsplit=1)) == (0, ["removed", "3 prompts, 4.5 kB"])
    assert pixart("models", "cache").out.split()[1] == "0"
    assert list((cache_dir() / "embeds").iterdir()) == []


def test_the_same_as_one_document(pixart, monkeypatch):
    fill(1)
    document = pixart("models", "cache", "--json").json
    assert document.pop("warnings") == []
    assert document == {
        "schema": "pixart.cache/1", "ok": True, "path": str(cache_dir() / "embeds"), "entries": 1,
        "bytes": 1500, "limit_bytes": 512_000_000, "removed": 0, "removed_bytes": 0,
    }  # fmt: skip
    monkeypatch.setenv("PIXART_PROMPT_CACHE", "0")
    document = pixart("models", "cache", "--clear", "--json").json
    assert (document["limit_bytes"], document["removed"], document["entries"]) == (0, 1, 0)


def test_switched_off_is_said(pixart, tmp_path):
    (tmp_path / "pixart.toml").write_text("prompt_cache = 0\n")
    assert "no more are kept" in pixart("models", "cache").out


def test_a_wrong_setting_is_told(pixart, monkeypatch):
    monkeypatch.setenv("PIXART_PROMPT_CACHE", "lots")
    ran = pixart("models", "cache")
    assert (ran.code, ran.out) == (2, "")
    assert "PIXART_PROMPT_CACHE" in ran.err


@pytest.mark.skipif(os.name != "posix", reason="a folder in the way")
def test_what_cannot_be_emptied_is_an_error(pixart):
    fill(1)
    place = cache_dir() / "embeds"
    shutil.rmtree(place)
    place.mkdir()
    (place / "x.safetensors").mkdir()  # neither counted nor removed: it is none of ours
    assert pixart("models", "cache", "--clear").code == 0
    assert (place / "x.safetensors").is_dir()


@pytest.fixture(scope="module")
def large_folder(toy_folder, tmp_path_factory):
    """The toy with a vocabulary so large that its encoder is worth keeping the embeddings of."""
    folder = shutil.copytree(toy_folder, tmp_path_factory.mktemp("models") / "large")
    weights, config = (folder / "text_encoder" / name for name in ("model.safetensors", "config.json"))
    state = load_file(weights)
    rows = TINY_BYTES // (4 * 16)
    words = state["shared.weight"]
    state["shared.weight"] = torch.cat([words, torch.zeros(rows, 16)])
    save_file(state, weights)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": len(words) + rows}))
    return folder


def gen(press, folder, *more):
    done = press(
        "gen", "a red sun", "-m", folder, "-r", "256x256", "--draft", "--steps", "1", "-s", "7", "-f",
        "--device", "cpu", "-o", "x.png", *more,
    )  # fmt: skip
    assert done.code == 0, done.err


def test_pictures_with_and_without_the_cache_are_the_same_bytes(press, tmp_path, large_folder):
    pictures = []
    for more in (("--prompt-cache", "0"), (), ()):
        gen(press, large_folder, *more)
        pictures.append((tmp_path / "x.png").read_bytes())
        assert (cache_dir() / "embeds").exists() == (not more)
    assert pictures[0] == pictures[1] == pictures[2]
    assert kept(1_000_000).contents().entries == 2  # the prompt, and the empty negative one


def test_the_built_in_model_keeps_nothing(press):
    gen(press, "mini")
    assert not cache_dir().exists()
