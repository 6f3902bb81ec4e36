"""`pixart info`: ours, other programs', none at all, and several at once."""

from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
