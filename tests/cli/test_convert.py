"""`pixart models convert`: a sentence, a path or one document; and the folder draws."""

import json
import shutil

import pytest
import torch

from pixart_cli.cli.app import run
from tests.original_pixart import Original

CONV = Original(caption_channels=16, input_size=32, scale=0.5, compression=("conv", 2, (1, 3)))


@pytest.fixture
def checkpoint(tmp_path):
    """An original checkpoint with KV compression."""
    torch.save({"state_dict": CONV.state_dict()}, tmp_path / "x.pth")
    return tmp_path / "x.pth"


def test_the_path_is_printed_and_what_was_found_said(pixart, checkpoint):
    ran = pixart("models", "convert", checkpoint, "--out", "out", "--num-heads", 4)
    assert (ran.code, ran.out) == (0, "out\n")
    said = "PixArt-Σ at 256 px, 4 blocks 48 wide with 4 heads, 186,224 parameters in float32, "
    assert said + "KV compression conv by 2 in 2 blocks" in ran.err
    assert (
        "hint: tokenizer, text_encoder, vae are not on this machine: `pixart models pull sigma-256`"
        in ran.err
    )


def test_one_document(pixart, checkpoint, tmp_path, toy_folder):
    ran = pixart(
        *("models", "convert", checkpoint, "--out", tmp_path / "out", "--num-heads", 4),
        *("--parts", toy_folder, "--dtype", "bfloat16", "--json"),
    )
    document = ran.json
    assert document.pop("parts") == {
        component: str(toy_folder / component) for component in ("tokenizer", "text_encoder", "vae")
    }
    assert document == {
        "schema": "pixart.convert/1", "ok": True, "path": str(tmp_path / "out"), "family": "sigma",
        "image_size": 256, "sample_size": 32, "interpolation_scale": 0.5, "depth": 4, "width": 48, "heads": 4,
        "caption_channels": 16, "micro_conditions": False, "qk_norm": False,
        "kv_compression": {"sampling": "conv", "ratio": 2, "layers": [1, 3], "qk_norm": False},
        "parameters": 186224, "dtype": ["bfloat16"], "ema": False, "warnings": [],
    }  # fmt: skip


@pytest.mark.parametrize("typed", [[], ["--kv-compression", "ave:2:2-3"]], ids=["conv", "ave"])
def test_the_folder_draws_at_once(tmp_path, checkpoint, toy_folder, monkeypatch, capfd, typed):
    monkeypatch.chdir(tmp_path)
    if typed:
        plain = Original(caption_channels=16, input_size=32, scale=0.5)
        torch.save(plain.state_dict(), checkpoint)
    words = ["models", "convert", "x.pth", "--out", "out", "--num-heads", "4", "--parts", str(toy_folder)]
    assert run([*words, *typed]) == 0
    drawing = ["gen", "a red sun", "--model", "out/", "--res", "256x256", "--steps", "2", "--draft"]
    assert run([*drawing, "-o", "x.png", "--device", "cpu"]) == 0, capfd.readouterr().err
    capfd.readouterr()
    assert run(["info", "x.png", "--json"]) == 0
    provenance = json.loads(capfd.readouterr().out)["images"][0]["provenance"]
    assert provenance["kv_compression"]["ratio"] == 2
    # A folder that is moved to a machine without the parts says what to fetch.
    for component in ("tokenizer", "text_encoder", "vae"):
        (tmp_path / "out" / component).unlink()
    assert run([*drawing, "-o", "y.png", "--offline"]) == 3
    assert "pixart models pull sigma-256" in capfd.readouterr().err


class Evil:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return (exec, ("open('ran', 'w').write('ran')",))


def _evil(state):
    return {"state_dict": state, "hook": Evil()}


def _unknown(state):
    return {"state_dict": state | {"controlnet.0.weight": torch.zeros(2)}}


def _missing(state):
    del state["t_block.1.bias"]
    return {"state_dict": state}


def _misshapen(state):
    return {"state_dict": state | {"t_block.1.bias": torch.zeros(7)}}


@pytest.mark.parametrize(
    ("change", "words", "code", "name", "said"),
    [
        (_evil, [], 4, "weights-invalid", "nothing of it was run"),
        (_unknown, [], 4, "weights-invalid", "controlnet.0.weight"),
        (_missing, [], 4, "weights-invalid", "are missing: t_block.1.bias"),
        (_misshapen, [], 4, "weights-invalid", "another shape: t_block.1.bias"),
        (dict, ["--ema"], 2, "request-invalid", "state_dict_ema"),
        (dict, ["--kv-compression", "conv:2:1"], 2, "request-invalid", "conv:2:1,3"),
        (dict, ["--kv-compression", "often"], 2, "request-invalid", "is no KV compression"),
        (dict, ["--num-heads", "5"], 2, "request-invalid", "5 heads"),
        (dict, ["--num-heads", "0"], 2, "usage", "--num-heads"),
        (dict, ["--image-size", "500"], 2, "request-invalid", "500 px"),
        (dict, ["--family", "beta"], 2, "usage", "--family"),
        (dict, ["--dtype", "int8"], 2, "usage", "--dtype"),
        (dict, ["--parts", "nowhere"], 3, "model-missing", "nowhere has no tokenizer"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_nothing(pixart, tmp_path, change, words, code, name, said):
    torch.save(change(CONV.state_dict()), tmp_path / "x.pth")
    heads = [] if "--num-heads" in words else ["--num-heads", 4]
    ran = pixart("models", "convert", "x.pth", "--out", "deep/out", "--json", *heads, *words)
    assert (ran.code, ran.json["error"]["code"]) == (code, name)
    assert said in ran.json["error"]["message"]
    assert ran.json["error"]["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_averaged_weights_are_pointed_out_and_taken(pixart, tmp_path):
    state = CONV.state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "x.pth")
    words = ("models", "convert", "x.pth", "--num-heads", 4, "--out")
    assert "--ema takes them" in pixart(*words, "a").err
    ran = pixart(*words, "b", "--ema", "--json")
    assert ran.json["ema"] is True
    assert "--ema takes them" not in ran.err


def test_an_existing_folder_needs_force(pixart, checkpoint, tmp_path, toy_folder):
    shutil.copytree(toy_folder, tmp_path / "out")
    words = ("models", "convert", checkpoint, "--num-heads", 4, "--out", "out")
    assert pixart(*words, "--json").json["error"]["code"] == "output-exists"
    assert pixart(*words, "--force").code == 0
    (tmp_path / "file").write_text("mine")
    ran = pixart(*words[:-1], "file", "--force", "--json")
    assert ran.json["error"]["code"] == "output-invalid"
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_supposed_is_a_warning(pixart, tmp_path):
    state = {key: value for key, value in CONV.state_dict().items() if key != "y_embedder.y_embedding"}
    torch.save(state, tmp_path / "x.pth")
    ran = pixart("models", "convert", "x.pth", "--num-heads", 4, "--out", "out", "--json")
    assert "--family alpha" in ran.json["warnings"][0]
    ran = pixart("models", "convert", "x.pth", "--num-heads", 4, "--out", "b", "--family", "alpha", "--json")
    assert (ran.json["family"], ran.json["warnings"]) == ("alpha", ran.json["warnings"][:1])


def test_normed_queries_and_keys_say_why_they_are_not_compressed(tmp_path, toy_folder, pixart):
    normed = Original(caption_channels=16, input_size=32, scale=0.5, qk_norm=True)
    torch.save(normed.state_dict(), tmp_path / "x.pth")
    words = ("models", "convert", "x.pth", "--out", "out", "--num-heads", 4, "--parts", toy_folder)
    wrong = pixart(*words, "--kv-compression", "conv:2:2-3")
    assert (wrong.code, "holds no convolutions that compress" in wrong.err) == (2, True)
    ran = pixart(*words)
    assert ran.code == 0
    assert "no KV compression, queries and keys are normed" in ran.err
    drawing = ("gen", "a red sun", "-m", "out/", "-o", "x.png", "--kv-compression")
    refused = pixart(*drawing, 2)
    assert refused.code == 2
    assert "norm queries and keys and were trained without compression" in refused.err
    assert pixart(*drawing, "auto").code == 0
