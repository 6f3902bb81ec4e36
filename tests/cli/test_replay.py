"""`pixart replay`: the verdicts, their exit codes, and the picture kept."""

import os

import pytest
from PIL import Image

from pixart_cli.core.metadata import read_record


@pytest.fixture
def drawn(pixart, tmp_path):
    """A picture to draw again."""
    assert pixart("gen", "a red sun", "-r", "64x48", "-s", 7, "-o", "x.png").code == 0
    return tmp_path / "x.png"


def test_the_same_again_is_exact(pixart, drawn):
    ran = pixart("replay", "x.png")
    assert (ran.code, ran.out) == (0, "exact\n")
    document = pixart("replay", "x.png", "--json").json
    assert (document["schema"], document["ok"], document["verdict"]) == ("pixart.replay/1", True, "exact")
    assert (document["psnr"], document["changed"]) == (None, {})


def test_nearly_the_same_is_close_and_says_what_changed(pixart, drawn, stand_in):
    stand_in.shift, stand_in.facts["torch"] = 1, "1"
    ran = pixart("replay", "x.png")
    assert (ran.code, ran.out) == (0, "close (48.1 dB)\n") or ran.out.startswith("close (")
    assert "torch: was 0, is 1" in ran.err
    document = pixart("replay", "x.png", "--json").json
    assert (document["ok"], document["changed"]) == (True, {"torch": {"recorded": "0", "today": "1"}})


def test_another_picture_is_exit_8(pixart, drawn, stand_in):
    stand_in.shift = 90
    ran = pixart("replay", "x.png")
    assert ran.code == 8
    assert ran.out.startswith("different (")
    document = pixart("replay", "x.png", "--json").json
    assert (document["ok"], document["verdict"]) == (False, "different")
    assert document["error"] == {**document["error"], "code": "replay-differs", "exit": 8}


def test_a_resized_picture_is_different(pixart, drawn, tmp_path):
    from PIL.PngImagePlugin import PngInfo

    with Image.open(drawn) as picture:
        info = PngInfo()
        info.add_itxt("pixart", picture.text["pixart"])
        picture.resize((32, 24)).save(tmp_path / "y.png", pnginfo=info)
    ran = pixart("replay", "y.png")
    assert (ran.code, ran.out) == (8, "different\n")


def test_the_picture_drawn_again_can_be_kept(pixart, drawn, tmp_path):
    assert pixart("replay", "x.png", "-o", "again.png").code == 0
    assert read_record(tmp_path / "again.png").request == read_record(drawn).request
    assert pixart("replay", "x.png", "-o", "again.png").code == 2
    assert pixart("replay", "x.png", "-o", "again.png", "-f").code == 0


def test_the_rules_for_its_name_are_those_of_gen(pixart, drawn, stand_in, tmp_path):
    stand_in.drawn.clear()
    for name in ("-", "x.jpg", "a\nb.png", "{nope}.png", ""):
        document = pixart("replay", "x.png", "--json", "-o", name).json
        assert (document["ok"], document["error"]["code"]) == (False, "output-invalid"), name
    assert stand_in.drawn == []
    assert pixart("replay", "x.png", "-o", "new/{seed}.png", "--json").json["output"] == "new/7.png"
    assert (tmp_path / "new" / "7.png").is_file()
    assert pixart("replay", "x.png", "-o", "folder/").code == 0
    assert [path.suffix for path in (tmp_path / "folder").iterdir()] == [".png"]


def test_a_misspelt_variable_is_warned_of(pixart, drawn, monkeypatch):
    monkeypatch.setenv("PIXART_QUEIT", "1")
    assert "did you mean PIXART_QUIET" in pixart("replay", "x.png").err


def test_pictures_that_cannot_be_replayed(pixart, stand_in, tmp_path):
    pixart("gen", "sun", "-r", "64x48", "-o", "bare.png", "--metadata", "none")
    (tmp_path / "text.png").write_text("no picture")
    stand_in.drawn.clear()
    codes = {
        name: pixart("replay", name, "--json").json["error"]["code"] for name in ("bare.png", "text.png")
    }
    assert codes == {"bare.png": "metadata-missing", "text.png": "image-invalid"}
    assert stand_in.drawn == []


def test_a_model_folder_is_named_again_and_another_process_draws_the_same(press, shell, toy_folder, tmp_path):
    args = ("-r", "64x64", "--steps", "1", "-m", toy_folder)
    assert press("gen", "a red sun", *args, "-o", "x.png").code == 0
    forgotten = press("replay", "x.png")
    assert (forgotten.code, "--model" in forgotten.err) == (2, True)
    (tmp_path / "mine").symlink_to(toy_folder)
    environ = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = shell("replay", "x.png", "--model=~/mine", env=environ)
    assert (done.returncode, done.stdout) == (0, b"exact\n")
