"""Files that `gen` and `replay` are given: LoRAs and init images, from the command line to the record."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from pixart_cli.core.metadata import read_record
from tests.toy_lora import matrices, save_lora, spelled
from tests.toy_model import toy_transformer

SMALL = ("-r", "64x48", "-s", 7)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def photo(tmp_path):
    """A picture that no record says anything of."""
    Image.new("RGB", (40, 30), "orange").save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


@pytest.fixture
def lora(tmp_path):
    """A LoRA that fits the toy."""
    return save_lora(tmp_path / "mine.safetensors", spelled(matrices(toy_transformer()), "kohya", 2.0))


def test_an_init_image_is_recorded_by_its_hash(pixart, stand_in, photo, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-o", "x.png", "--init-image", "photo.jpg").code == 0
    record = read_record(tmp_path / "x.png")
    assert (record.request.init_image, record.request.strength) == (sha256(photo), 0.6)
    assert record.parent.to_dict() == {"sha256": sha256(photo)}
    data = (tmp_path / "x.png").read_bytes()
    assert b"photo" not in data
    assert b"compositeWithTrained" in data
    assert stand_in.drawn[-1] == record.request
    ran = pixart("gen", "sun", *SMALL, "-o", "y.png", "--init-image", "x.png", "--strength", 0.25)
    assert ran.code == 0
    child = read_record(tmp_path / "y.png")
    expected = {"sha256": sha256(tmp_path / "x.png"), "fingerprint": record.fingerprint}
    assert (child.parent.to_dict(), child.request.strength) == (expected, 0.25)
    assert pixart("info", "y.png", "--json").json["images"][0]["parent"] == expected
    assert pixart("info", "x.png", "--json").json["images"][0]["parent"] == {"sha256": sha256(photo)}
    assert record.fingerprint in pixart("info", "y.png").out
    assert "a picture of another program" in pixart("info", "x.png").out


def test_loras_are_recorded_by_hash_and_scale_in_any_order(pixart, lora, tmp_path):
    other = save_lora(tmp_path / "other.safetensors", {"a.lora_A.weight": torch.ones(1)})
    first = pixart("gen", "sun", *SMALL, "-o", "x.png", "--lora", "mine.safetensors:0.8", "--lora", other)
    again = pixart("gen", "sun", *SMALL, "-o", "y.png", "--lora", other, "--lora", "mine.safetensors:0.8")
    assert (first.code, again.code) == (0, 0)
    request = read_record(tmp_path / "x.png").request
    assert request.lora == "+".join(sorted([f"{sha256(lora)}:0.8", f"{sha256(other)}:1.0"]))
    assert request == read_record(tmp_path / "y.png").request
    assert b"mine" not in (tmp_path / "x.png").read_bytes()
    assert f"{sha256(lora)[:12]} 0.8".encode() in (tmp_path / "x.png").read_bytes()


def test_files_and_the_environment_name_them_too(pixart, photo, lora, tmp_path, monkeypatch):
    (tmp_path / "pixart.toml").write_text('lora = ["mine.safetensors:0.5"]\ninit_image = "photo.jpg"\n')
    (request,) = [
        image["request"] for image in pixart("gen", "sun", *SMALL, "--dry-run", "--json").json["images"]
    ]
    assert (request["lora"], request["init_image"]) == (f"{sha256(lora)}:0.5", sha256(photo))
    monkeypatch.setenv("PIXART_LORA", "mine.safetensors:2; none.safetensors")
    ran = pixart("gen", "sun", *SMALL, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (3, "lora-missing")
    assert ran.json["error"]["message"].startswith("PIXART_LORA: ")
    monkeypatch.delenv("PIXART_LORA")
    (tmp_path / "pixart.toml").write_text('# the first line\ninit_image = "none.jpg"\n')
    assert "pixart.toml:2: init image none.jpg" in pixart("gen", "sun", *SMALL).err


def test_dry_run_says_what_is_started_from(pixart, photo, lora):
    words = ("--lora", "mine.safetensors:0.5", "--init-image", "photo.jpg", "--dry-run")
    lines = pixart("gen", "sun", *SMALL, *words).out.splitlines()
    assert ["lora", "mine.safetensors", "at", "0.5"] in [line.split() for line in lines]
    assert ["start", "photo.jpg,", "strength", "0.6"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("--init-image", "none.png"), "init-image-missing", 3),
        (("--init-image", "."), "init-image-invalid", 4),
        (("--init-image", "text.png"), "init-image-invalid", 4),
        (("--init-image", ""), "usage", 2),
        (("--init-image", "photo.jpg", "--strength", "0"), "request-invalid", 2),
        (("--init-image", "photo.jpg", "--strength", "1.1"), "request-invalid", 2),
        (("--init-image", "photo.jpg", "--strength", "-0.5"), "request-invalid", 2),
        (("--init-image", "photo.jpg", "--strength", "nan"), "request-invalid", 2),
        (("--init-image", "photo.jpg", "--strength", "much"), "usage", 2),
        (("--init-image", "photo.jpg", "-m", "dmd"), "request-invalid", 2),
        (("--strength", "0.5"), "usage", 2),
        (("--lora", "none.safetensors"), "lora-missing", 3),
        (("--lora", "owner/repo:0.5"), "lora-missing", 3),
        (("--lora", "text.png"), "weights-invalid", 4),
        (("--lora", "weights.bin"), "weights-invalid", 4),
        (("--lora", "mine.safetensors:99"), "usage", 2),
        (("--lora", "mine.safetensors", "--lora", "mine.safetensors:2"), "usage", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_mistakes_are_refused_before_anything_is_drawn(
    pixart, stand_in, photo, lora, tmp_path, args, code, exit_code
):
    (tmp_path / "text.png").write_text("no picture, and no weights")
    (tmp_path / "weights.bin").write_bytes(b"\x80\x04.")
    ran = pixart("gen", "sun", *SMALL, *args, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (exit_code, code)
    assert ran.json["error"]["hint"]
    assert stand_in.drawn == []
    assert not list(tmp_path.glob("sun*"))


def test_replay_asks_for_the_init_image_and_knows_it(pixart, stand_in, photo, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-o", "x.png", "--init-image", "photo.jpg").code == 0
    missing = pixart("replay", "x.png", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (3, "init-image-missing")
    assert "init image" in missing.json["error"]["message"]
    assert "--init-image" in missing.json["error"]["hint"]
    photo.rename(tmp_path / "moved.jpg")
    assert pixart("replay", "x.png", "--init-image", "moved.jpg", "-o", "again.png").out == "exact\n"
    assert read_record(tmp_path / "again.png").parent == read_record(tmp_path / "x.png").parent
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "other.jpg")
    wrong = pixart("replay", "x.png", "--init-image", "other.jpg", "--json")
    assert (wrong.code, wrong.json["error"]["code"]) == (4, "init-image-invalid")
    assert pixart("replay", "x.png", "--init-image", "moved.jpg", "-m", "dmd", "--json").code == 2
    assert pixart("gen", "sun", *SMALL, "-o", "plain.png").code == 0
    assert (
        pixart("replay", "plain.png", "--init-image", "other.jpg", "--json").json["error"]["code"] == "usage"
    )


def test_replay_asks_for_the_lora_and_finds_it_by_its_hash(pixart, lora, tmp_path, own_folders):
    asked = ("gen", "sun", *SMALL, "-o", "x.png", "--lora", "mine.safetensors:0.8")
    assert pixart(*asked).code == 0
    missing = pixart("replay", "x.png", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (3, "lora-missing")
    assert sha256(lora) in missing.json["error"]["message"]
    assert pixart("replay", "x.png", "--lora", "mine.safetensors").out == "exact\n"
    other = save_lora(tmp_path / "other.safetensors", {"a": torch.ones(1)})
    for words in (("--lora", other), ("--lora", lora, "--lora", other)):
        assert pixart("replay", "x.png", *words, "--json").json["error"]["code"] in ("lora-missing", "usage")
    blobs = own_folders / "huggingface" / "hub" / "models--owner--repo" / "blobs"
    blobs.mkdir(parents=True)
    lora.rename(blobs / sha256(lora))
    assert pixart("replay", "x.png").out == "exact\n"


def test_the_networks_draw_with_both_and_again(press, toy_folder, lora, tmp_path):
    small = ("-r", "128x512", "--steps", "4", "-s", "7", "-m", toy_folder)
    assert press("gen", "a red sun", *small, "-o", "base.png").code == 0
    words = ("--init-image", "base.png", "--strength", "0.5", "--lora", f"{lora}:0.5")
    done = press("gen", "a green hill", *small, *words, "-o", "x.png", "--json")
    assert done.code == 0, done.err
    (image,) = done.json["images"]
    assert image["provenance"]["lora"] == [{"sha256": sha256(lora), "scale": 0.5, "layers": 6}]
    supplies = ("--init-image", "base.png", "--lora", lora, "-m", toy_folder)
    again = press("replay", "x.png", *supplies)
    assert (again.code, again.out) == (0, "exact\n")
    pixels = [np.asarray(Image.open(tmp_path / name)) for name in ("base.png", "x.png")]
    assert pixels[0].shape == pixels[1].shape
    assert not np.array_equal(*pixels)
    strange = save_lora(tmp_path / "odd.safetensors", {"down_blocks.0.lora_A.weight": torch.ones(1, 1)})
    refused = press("gen", "a green hill", *small, "--lora", strange, "-o", "y.png")
    assert refused.code == 4
    assert "match nothing in this model: down_blocks.0.lora_A.weight" in refused.err
    assert not (tmp_path / "y.png").exists()


@pytest.fixture
def hub(lora, monkeypatch):
    """The LoRA as owner/ink on the loopback."""
    from tests.loopback_hub import go_online, serving

    with serving({"owner/ink": {"pytorch_lora_weights.safetensors": lora.read_bytes()}}) as hub:
        go_online(monkeypatch, hub.address)
        yield hub


def test_a_lora_of_the_hub_is_fetched_once_agreed_to(pixart, hub, lora, tmp_path):
    words = ("gen", "sun", *SMALL, "--lora", "owner/ink:0.5")
    ran = pixart(*words, "-o", "x.png")
    assert (ran.code, hub.asked) == (3, [])
    assert "--yes to download it" in ran.err
    assert pixart(*words, "-o", "x.png", "--yes", "--offline").code == 3
    assert pixart(*words, "-o", "x.png", "--yes", "--dry-run").code == 3
    assert hub.asked == []
    ran = pixart(*words, "-o", "x.png", "--yes")
    assert (ran.code, ran.out) == (0, "x.png\n")
    assert "the LoRA owner/ink is not on this machine: " in ran.err
    assert read_record(tmp_path / "x.png").request.lora == f"{sha256(lora)}:0.5"
    assert hub.fetched("pytorch_lora") == 1
    assert pixart(*words, "-o", "y.png").code == 0
    assert hub.fetched("pytorch_lora") == 1
    assert pixart("replay", "x.png").code == 0


def test_so_are_those_of_a_batch_and_of_its_prompts(pixart, hub, lora, tmp_path):
    (tmp_path / "list.txt").write_text("a sun\n  --lora owner/ink:0.5\na moon\n")
    words = ("batch", "list.txt", "-r", "64x48", "-o", "out/")
    ran = pixart(*words)
    assert (ran.code, hub.asked) == (3, [])
    assert "list.txt:1: the LoRA owner/ink:0.5 is not on this machine" in ran.err
    assert pixart(*words, "--yes", "--check").code == 7
    assert pixart(*words, "--yes", "--offline").code == 3
    assert hub.asked == []
    ran = pixart(*words, "--yes", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert hub.fetched("pytorch_lora") == 1
    loras = {read_record(path).request.lora for path in (tmp_path / "out").glob("*.png")}
    assert loras == {"", f"{sha256(lora)}:0.5"}


def test_one_typed_for_a_whole_batch_is_fetched_before_it_begins(pixart, hub, tmp_path):
    (tmp_path / "list.txt").write_text("a sun\na moon\n")
    words = ("batch", "list.txt", "-r", "64x48", "-o", "out/", "--lora", "owner/ink")
    assert pixart(*words).code == 3
    assert "--yes to download it" in pixart(*words).err
    assert pixart(*words, "--yes").code == 0
    assert hub.fetched("pytorch_lora") == 1
