"""`pixart info`: ours, other programs', none at all, and several at once."""

from hashlib import sha256

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.core.resolution import parse_size
from pixart_cli.core.settings import lay_over, resolve_requests

A1111 = "a red sun\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512"


def foreign(path, text=A1111):
    info = PngInfo()
    if text:
        info.add_text("parameters", text)
    Image.new("RGB", (8, 6)).save(path, pnginfo=info)
    return path


def test_our_pictures_say_everything(pixart):
    pixart("gen", "a red sun", "-r", "64x48", "-s", 7, "-o", "x.png", "--negative", "fog", "--steps", 9)
    ran = pixart("info", "x.png")
    assert ran.code == 0
    for words in (
        "x.png",
        "64x48",
        "a red sun",
        "fog",
        "7",
        "mini",
        "9",
        "dpm++",
        "fingerprint",
        "device cpu",
    ):
        assert words in ran.out


def test_json_holds_what_gen_said(pixart):
    (drawn,) = pixart("gen", "a red sun", "-r", "a6@50", "-o", "x.png", "--json").json["images"]
    document = pixart("info", "--json", "x.png").json
    (said,) = document["images"]
    assert (document["schema"], document["ok"]) == ("pixart.info/1", True)
    assert said["request"] == drawn["request"]
    assert said["provenance"] == drawn["provenance"]
    assert (said["width"], said["height"]) == (drawn["width"], drawn["height"])
    assert round(said["dpi"]) == 50
    assert said["parameters"].startswith("a red sun")


def test_pictures_of_other_programs_show_their_parameters(pixart, tmp_path):
    foreign(tmp_path / "x.png")
    ran = pixart("info", "x.png")
    assert (ran.code, A1111 in ran.out) == (0, True)
    (said,) = pixart("info", "x.png", "--json").json["images"]
    assert (said["request"], said["parameters"]) == (None, A1111)
    assert (said["settings"]["seed"], said["settings"]["negative_prompt"]) == (42, "fog")


def test_a_picture_that_says_nothing_is_exit_4(pixart, tmp_path):
    foreign(tmp_path / "x.png", text="")
    ran = pixart("info", "x.png")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.count("error:") == 1
    assert pixart("info", "x.png", "--json").json["error"]["code"] == "metadata-missing"


def test_one_bad_file_among_several_is_told_and_the_rest_shown(pixart, tmp_path):
    foreign(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    foreign(tmp_path / "c.png")
    ran = pixart("info", "a.png", "b.png", "c.png")
    assert (ran.code, ran.out.count("a red sun")) == (4, 2)
    assert "b.png" in ran.err
    assert "1 of 3" in ran.err
    document = pixart("info", "a.png", "b.png", "c.png", "--json").json
    assert (document["ok"], document["schema"], len(document["images"])) == (False, "pixart.info/1", 3)
    assert document["images"][1]["error"]["code"] == "image-invalid"
    assert document["error"]["exit"] == 4


def test_what_a_picture_says_cannot_harm_the_terminal(pixart, tmp_path):
    foreign(tmp_path / "x.png", "\x1b]0;owned\x07sun\x9b2J" + A1111)
    for args in ((), ("--json",)):
        out = pixart("info", "x.png", *args).out
        assert not any(character in out for character in "\x1b\x07\x9b")


def test_a_missing_file_is_told(pixart):
    ran = pixart("info", "nothing.png")
    assert (ran.code, "nothing.png" in ran.err) == (4, True)


def drawn(pixart, *args):
    (image,) = pixart("gen", *args, "--json").json["images"]
    return image


def test_a_list_of_pictures_draws_the_same_ones(pixart, tmp_path, monkeypatch):
    asked = (
        "a {red} sun\nwith 'quotes' and \x1b",
        "-r",
        "a6@50:landscape",
        "-p",
        "linocut",
        "--negative",
        "fog's",
    )
    first = drawn(pixart, *asked, "-o", "x.png", "-s", 7)
    second = drawn(pixart, "東京 #1", "-r", "64x48", "-o", "y.png")
    listed = pixart("info", "--as", "batch", "x.png", "y.png")
    assert (listed.code, listed.err) == (0, "")
    assert "\x1b" not in listed.out
    monkeypatch.setenv("PIXART_PRESET", "watercolor")
    jobs = list(read_jobs(listed.out.splitlines(), name="x.txt"))
    for job, image in zip(jobs, (first, second), strict=True):
        (found,) = resolve_requests(lay_over(job.options), [job.prompt], installed=["mini"])
        assert found.request.to_dict() == image["request"]
    assert [parse_size(job.options["res"]).name for job in jobs] == ["a6", None]


def test_a_list_names_what_it_needs(pixart, tmp_path):
    lora, other = tmp_path / "ink.safetensors", tmp_path / "other.safetensors"
    lora.write_bytes(b"\x03" + bytes(7) + b"{ }")
    other.write_bytes(b"\x02" + bytes(7) + b"{}")
    foreign(tmp_path / "start.png")
    pixart(
        "gen",
        "a sun",
        "-r",
        "64x48",
        "-o",
        "x.png",
        "--lora",
        "ink.safetensors:0.5",
        "--init-image",
        "start.png",
    )
    ran = pixart("info", "--as", "batch", "x.png", "--lora", other)
    assert (ran.code, ran.out) == (3, "")
    assert sha256(lora.read_bytes()).hexdigest() in ran.err
    assert pixart("info", "--as", "batch", "x.png", "--lora", lora).code == 3
    ran = pixart("info", "--as", "batch", "x.png", "--lora", lora, "--init-image", "start.png")
    (job,) = read_jobs(ran.out.splitlines(), name="x.txt")
    assert (job.options["lora"], job.options["init_image"]) == ((f"{lora}:0.5",), "start.png")
    assert job.options["strength"] == 0.6


def test_a_lora_of_the_shared_cache_is_found_by_its_hash(pixart, tmp_path, own_folders):
    lora = tmp_path / "ink.safetensors"
    lora.write_bytes(b"\x03" + bytes(7) + b"{ }")
    pixart("gen", "a sun", "-r", "64x48", "-o", "x.png", "--lora", "ink.safetensors:-0.00002")
    blob = own_folders / "huggingface/hub/models--someone--ink/blobs" / sha256(lora.read_bytes()).hexdigest()
    blob.parent.mkdir(parents=True)
    lora.rename(blob)
    (job,) = read_jobs(pixart("info", "--as", "batch", "x.png").out.splitlines(), name="x.txt")
    assert job.options["lora"] == (f"{blob}:-0.00002",)


def test_other_programs_pictures_give_what_they_say(pixart, tmp_path):
    foreign(tmp_path / "x.png")
    foreign(tmp_path / "y.png", "Steps: 20, Sampler: Euler a, Seed: 42")
    (tmp_path / "z.png").write_text("no picture")
    ran = pixart("info", "--as", "batch", "x.png", "y.png", "z.png")
    assert (ran.code, "2 of 3" in ran.err, "y.png: names no prompt" in ran.err) == (4, True, True)
    (job,) = read_jobs(ran.out.splitlines(), name="x.txt")
    assert job.prompt == "a red sun"
    assert job.options == {
        "res": "512x512", "negative": "fog", "steps": 20, "guidance": 7.0, "scheduler": "euler-a", "seed": 42,
    }  # fmt: skip


def test_a_list_is_no_document(pixart, tmp_path):
    foreign(tmp_path / "x.png")
    for args in (("--as", "list"), ("--as", "batch", "--json"), ("--lora", "x")):
        ran = pixart("info", "x.png", *args)
        assert (ran.code, "usage" in ran.out or "error" in ran.err) == (2, True)
