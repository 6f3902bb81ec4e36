"""`pixart gen`: what is drawn, named, printed and refused."""

import io
import os

import pytest
from PIL import Image

from pixart_cli.cli.app import run
from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import read_record
from pixart_cli.core.options import SETTINGS

SMALL = ("-r", "64x48")


def test_a_picture_is_drawn_named_and_printed(pixart, tmp_path):
    ran = pixart("gen", "a red sun", *SMALL, "--seed", 7)
    assert (ran.code, ran.out) == (0, "a-red-sun-7.png\n")
    assert "64x48" in ran.err
    assert "seed 7" in ran.err
    with Image.open(tmp_path / "a-red-sun-7.png") as picture:
        assert picture.size == (64, 48)
    assert read_record(tmp_path / "a-red-sun-7.png").request.prompt == "a red sun"


def test_a_random_seed_is_printed_and_recorded(pixart, tmp_path):
    ran = pixart("gen", "sun", *SMALL, "-o", "a.png")
    seed = read_record(tmp_path / "a.png").request.seed
    assert f"seed {seed}" in ran.err
    again = pixart("gen", "sun", *SMALL, "-o", "b.png")
    assert f"seed {seed}" not in again.err


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (("sun", "-s", 7), "seed 7"), (("sun", "-n", 3, "-s", 7), "seeds 7 to 9"),
        (("sun", "moon", "-n", 2, "-s", 7), "seeds 7 to 8"), (("a", "b", "c", "d"), "4 seeds"),
    ],
)  # fmt: skip
def test_seeds_are_told_as_they_are(pixart, stand_in, words, seeds):
    assert f"on cpu, {seeds}\n" in pixart("gen", *words, "-r", "64x48", "-o", "out/").err


def test_several_prompts_and_seeds_in_one_load(pixart, stand_in, tmp_path):
    ran = pixart("gen", "sun", "moon", *SMALL, "-n", 2, "-s", 5, "-o", "out/")
    assert ran.out.splitlines() == [f"out/{name}-{seed}.png" for name in ("sun", "moon") for seed in (5, 6)]
    assert [(r.prompt, r.seed) for r in stand_in.drawn] == [("sun", 5), ("sun", 6), ("moon", 5), ("moon", 6)]
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert "4/4" in ran.err


def test_a_whole_path_typed_is_a_whole_path_printed(pixart, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-o", tmp_path / "x.png").out == f"{tmp_path}/x.png\n"


def test_print0_ends_names_with_nul(pixart):
    assert pixart("gen", "sun", *SMALL, "-n", 2, "-s", 1, "-0").out == "sun-1.png\0sun-2.png\0"


def test_quiet_says_nothing_but_the_path(pixart):
    ran = pixart("gen", "sun", *SMALL, "-q", "-o", "x.png")
    assert (ran.out, ran.err) == ("x.png\n", "")


def test_progress_none_still_tells_the_seed(pixart):
    lines = pixart("gen", "sun", *SMALL, "-s", 3, "--progress", "none").err.splitlines()
    assert [line for line in lines if not line.startswith("hint")] == [lines[-1]]
    assert "seed 3" in lines[-1]


def test_json_is_one_document_of_the_contract(pixart, tmp_path):
    ran = pixart("gen", "a zeppelin", *SMALL, "-s", 3, "--json")
    assert ran.code == 0
    (image,) = ran.json["images"]
    assert set(ran.json) == {"schema", "ok", "images", "warnings"}
    assert (ran.json["schema"], ran.json["ok"]) == ("pixart.result/1", True)
    assert set(image) == {"path", "width", "height", "seed", "model", "request", "provenance", "seconds"}
    assert (image["path"], image["width"], image["height"]) == ("a-zeppelin-3.png", 64, 48)
    assert image["request"] == read_record(tmp_path / image["path"]).request.to_dict()
    assert ran.json["warnings"] == ["mini was never taught: zeppelin"]
    assert "warning: mini was never taught: zeppelin" in ran.err


def test_a_warning_is_said_once(pixart):
    assert pixart("gen", "zeppelin", *SMALL, "-n", 3).err.count("never taught") == 1


def test_dry_run_draws_and_writes_nothing(pixart, stand_in, tmp_path):
    ran = pixart("gen", "sun", "-r", "4k", "-s", 1, "--dry-run", "-o", "new/")
    assert ran.code == 0
    for words in ("3840x2160", "336x192", "memory", "new/sun-1.png", "mini", "about"):
        assert words in ran.out
    assert (stand_in.drawn, list(tmp_path.iterdir())) == ([], [])


def test_dry_run_as_json_has_the_shape_of_the_result(pixart):
    ran = pixart("gen", "sun", *SMALL, "-s", 1, "-n", 2, "--dry-run", "--json")
    assert (ran.json["ok"], ran.json["dry_run"]) == (True, True)
    assert [image["path"] for image in ran.json["images"]] == ["sun-1.png", "sun-2.png"]
    assert "seconds" not in ran.json["images"][0]
    assert ran.json["plan"]["bin"]["native"] == 256


def test_dry_run_says_that_blocks_will_be_compiled(pixart):
    for more, compiled in (
        ((), False),
        (("--torch-compile",), True),
        (("--torch-compile", "--memory", "low"), False),
    ):
        ran = pixart("gen", "sun", *SMALL, "-m", "mini", "--device", "cpu", "--dry-run", "--json", *more)
        assert ran.json["plan"]["compiled"] is compiled
        text = pixart("gen", "sun", *SMALL, "-m", "mini", "--device", "cpu", "--dry-run", *more).out
        assert (", compiled" in text) is compiled


def test_dry_run_says_how_the_picture_grows(pixart):
    plan = pixart("gen", "sun", "-r", "1080p", "-m", "mini", "--dry-run", "--json").json["plan"]
    assert [(each["width"], each["height"]) for each in plan["refine"]][-1] == (1920, 1088)
    assert "1920x1088 at" in pixart("gen", "sun", "-r", "1080p", "-m", "mini", "--dry-run").out
    for draft in (("--draft",), ("--refine", "off")):
        ran = pixart("gen", "sun", "-r", "1080p", "-m", "mini", "--dry-run", "--json", *draft)
        assert ran.json["plan"]["refine"] == []
        assert ran.json["images"][0]["request"]["refine"] == "off"
    ran = pixart("gen", "sun", "-r", "1080p", "-m", "mini", "--dry-run", "--json", "--direct")
    assert ran.json["images"][0]["request"]["refine"] == "direct"


@pytest.mark.parametrize(
    "words", [("--draft", "--direct"), ("--refine", "2", "--draft"), ("--refine", "off", "--direct")]
)
def test_one_word_for_refining_is_enough(pixart, stand_in, words):
    ran = pixart("gen", "sun", *SMALL, *words, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "usage")
    assert not stand_in.drawn


def test_dry_run_says_what_a_missing_model_would_cost(pixart):
    out = pixart("gen", "sun", *SMALL, "-m", "sigma-1024", "--dry-run").out
    assert "not on this machine, about" in out


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("-r", "4kk"), "size-invalid", 2),
        (("-p", "4k-wallpapper"), "preset-unknown", 2),
        (("-m", "sigma-1023"), "model-unknown", 2),
        (("--scheduler", "dmp++"), "request-invalid", 2),
        (("--steps", "0"), "request-invalid", 2),
        (("--seed", "-1"), "request-invalid", 2),
        (("--guidance", "nan"), "request-invalid", 2),
        (("--count", "0"), "request-invalid", 2),
        (("--kv-compression", "1"), "request-invalid", 2),
        (("--kv-compression", "8", "-m", "mini"), "request-invalid", 2),
        (("--device", "cuda:99"), "device-unavailable", 2),
        (("-o", "{nope}.png"), "output-invalid", 2),
        (("-o", "x.jpg"), "output-invalid", 2),
        (("-o", "one.png", "-n", "2"), "output-invalid", 2),
        (("-o", "-", "-n", "2"), "output-invalid", 2),
        (("-o", "-"), "output-invalid", 2),
        (("--metadata", "some"), "request-invalid", 2),
    ],
)
def test_mistakes_are_refused_before_anything_is_drawn(pixart, stand_in, tmp_path, args, code, exit_code):
    ran = pixart("gen", "sun", "--json", *args)
    assert (ran.code, ran.json["ok"]) == (exit_code, False)
    assert (ran.json["error"]["code"], ran.json["error"]["exit"]) == (code, exit_code)
    assert ran.json["error"]["hint"]
    assert (stand_in.drawn, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("args", "meant"),
    [(("-r", "4kk"), "4k"), (("-m", "sigma-1023"), "sigma-1024"), (("-p", "flatt"), "flat")],
)
def test_unknown_names_get_did_you_mean(pixart, args, meant):
    assert f"Did you mean {meant!r}" in pixart("gen", "sun", *args).err


def test_nothing_is_overwritten_without_force(pixart, stand_in, tmp_path):
    (tmp_path / "x.png").write_bytes(b"mine")
    ran = pixart("gen", "sun", *SMALL, "-o", "x.png")
    assert (ran.code, stand_in.drawn) == (2, [])
    assert "x.png exists already" in ran.err
    assert "--force" in ran.err
    assert (tmp_path / "x.png").read_bytes() == b"mine"
    assert pixart("gen", "sun", *SMALL, "-o", "x.png", "-f").code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_made_is_refused_before_drawing(pixart, stand_in, tmp_path):
    (tmp_path / "file").write_text("")
    ran = pixart("gen", "sun", *SMALL, "-o", "file/x.png")
    assert (ran.code, stand_in.drawn) == (9, [])
    assert "file" in ran.err


def test_no_empty_folder_is_left_when_the_model_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["gen", "sun", *SMALL, "-m", "sigma-1024", "-o", "new/x.png", "-q"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_nobody_has_is_a_folder_of_that_name(pixart, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-o", "~nobody-here/x.png").out == "~nobody-here/x.png\n"
    assert (tmp_path / "~nobody-here" / "x.png").is_file()


def test_a_working_folder_whose_name_is_no_text_holds_pictures(pixart, tmp_path, monkeypatch):
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    monkeypatch.chdir(here)
    assert pixart("gen", "sun", *SMALL, "-s", 1).out == "sun-1.png\n"
    assert (here / "sun-1.png").is_file()


def test_a_working_folder_that_is_gone_is_the_disks_fault(pixart, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    error = pixart("gen", "sun", "-o", tmp_path / "x.png", "--json").json["error"]
    assert (error["code"], error["exit"]) == ("disk", 9)


def test_a_failure_keeps_the_pictures_before_it(pixart, stand_in, tmp_path):
    stand_in.fail_at, stand_in.failure = 2, PixartError("picture-invalid", "NaN", "Try another seed.")
    ran = pixart("gen", "sun", *SMALL, "-n", 3, "-s", 1, "--json")
    assert (ran.code, ran.json["ok"]) == (6, False)
    assert ran.json["error"]["code"] == "picture-invalid"
    assert [image["path"] for image in ran.json["images"]] == ["sun-1.png", "sun-2.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sun-1.png", "sun-2.png"]


def test_metadata_none_says_nothing(pixart, tmp_path):
    pixart("gen", "sun", *SMALL, "-o", "x.png", "--metadata", "none")
    assert b"sun" not in (tmp_path / "x.png").read_bytes()


def test_precedence_typed_environment_file_preset(pixart, stand_in, tmp_path, monkeypatch):
    (tmp_path / "pixart.toml").write_text('steps = 7\nguidance = 2.0\nscheduler = "ddim"\n')
    monkeypatch.setenv("PIXART_STEPS", "8")
    monkeypatch.setenv("PIXART_GUIDANCE", "3")
    pixart("gen", "sun", *SMALL, "--steps", "9")
    (request,) = stand_in.drawn
    assert (request.num_inference_steps, request.guidance_scale, request.scheduler) == (9, 3.0, "ddim")


def test_json_may_be_asked_for_by_the_environment(pixart, monkeypatch):
    monkeypatch.setenv("PIXART_JSON", "1")
    assert pixart("gen", "sun", *SMALL).json["ok"] is True
    assert pixart("gen", "sun", "--stepps", "3").json["error"]["code"] == "usage"


def test_a_misspelt_variable_is_warned_of(pixart, monkeypatch):
    monkeypatch.setenv("PIXART_STEP", "8")
    assert "did you mean PIXART_STEPS" in pixart("gen", "sun", *SMALL).err


def test_control_characters_never_reach_a_stream_raw(pixart, tmp_path):
    ran = pixart("gen", "su\x1b]0;owned\x07n", *SMALL, "-o", "x.png", "-r", "\x1b[2J")
    assert "\x1b" not in ran.out + ran.err
    assert pixart("gen", "su\x1b[2Jn\u202e", *SMALL, "-o", "x.png", "--json").json["ok"]
    assert read_record(tmp_path / "x.png").request.prompt == "su\x1b[2Jn\u202e"


def test_every_setting_is_an_option(pixart):
    page = pixart("gen", "--help").out
    for setting in SETTINGS:
        assert f"--{setting.key.replace('_', '-')}" in page


@pytest.mark.parametrize("short", ["-p", "-r", "-m", "-s", "-n", "-o", "-f", "-y", "-0", "-q", "-h"])
def test_every_short_option_is_there(pixart, short):
    assert f"{short}, --" in pixart("gen", "-h").out


# Streams, in a process of its own: --dry-run draws nothing, and reads the prompt all the same.


def test_a_name_that_the_system_cannot_spell_is_refused(shell, tmp_path):
    (tmp_path / "pixart.toml").write_text("output = 'é.png'\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("gen", "sun", "--dry-run", env=os.environ | plain)
    assert (done.returncode, b"cannot be spelled" in done.stderr) == (2, True)


def test_undecodable_arguments_are_refused(shell):
    done = shell("gen", os.fsdecode(b"caf\xe9"), "--dry-run")
    assert (done.returncode, b"not valid UTF-8 at character 3" in done.stderr) == (2, True)


def test_the_plan_survives_an_ascii_terminal(shell):
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = shell("gen", "山", "--dry-run", "-o", "山.png", env=environ)
    assert done.returncode == 0
    assert b"\\u5c71.png" in done.stdout


def test_the_picture_itself_goes_to_standard_output(pixart, monkeypatch, stand_in):
    sink = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(sink))
    assert run(["gen", "sun", *SMALL, "-o", "-"], renderers=lambda model, plan: stand_in) == 0
    with Image.open(io.BytesIO(sink.getvalue())) as picture:
        assert picture.size == (64, 48)
        assert "parameters" in picture.text


def test_a_picture_for_a_closed_standard_output_is_not_drawn(pixart, monkeypatch, stand_in):
    monkeypatch.setattr("sys.stdout", None)
    assert run(["gen", "sun", *SMALL, "-o", "-"], renderers=lambda model, plan: stand_in) == 9
    assert stand_in.drawn == []


def test_a_picture_is_never_put_on_a_terminal(shell, tmp_path):
    leader, follower = os.openpty()
    done = shell("gen", "sun", "-o", "-", stdout=follower)
    os.close(follower), os.close(leader)
    assert done.returncode == 2
    assert b"standard output is a terminal" in done.stderr
