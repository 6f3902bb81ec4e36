"""`--encoder-bits` from the command line, files and lists to the record, and back from it."""

import json

import pytest

from pixart_cli.core.metadata import read_record
from pixart_cli.diffusion import quantisation
from tests.toy_model import build_toy_model

SMALL = ("-r", "64x48", "-s", 7)


@pytest.fixture
def library(monkeypatch):
    """One that is installed, for those who only ask whether it is; what it does has its own tests."""
    monkeypatch.setattr(quantisation, "LIBRARY", "torch")
    monkeypatch.setattr(quantisation, "OLDEST", (0, 0))


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(quantisation, "LIBRARY", "no-such-library")


def test_it_is_recorded_and_asked_for_again(pixart, stand_in, library, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "--encoder-bits", 8, "-o", "x.png").code == 0
    record = read_record(tmp_path / "x.png")
    assert record.request.text_encoder_bits == stand_in.drawn[-1].text_encoder_bits == 8
    assert record.fingerprint == record.request.fingerprint
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "y.png").code == 0
    assert read_record(tmp_path / "y.png").fingerprint != record.fingerprint
    assert "encoder_bits" in pixart("info", "x.png").out
    assert "encoder_bits" not in pixart("info", "y.png").out.replace("encoder_bits    16", "")
    again = pixart("replay", "x.png", "--json").json
    assert (again["verdict"], again["request"]["text_encoder_bits"]) == ("exact", 8)
    told = pixart("info", "x.png", "--as", "batch").out
    assert "--encoder-bits 8" in told
    (tmp_path / "again.txt").write_text(told)
    assert pixart("batch", "again.txt", "-o", "again/").code == 0
    assert stand_in.drawn[-1] == record.request


def test_every_source_of_settings_knows_it(pixart, stand_in, library, tmp_path, monkeypatch):
    (tmp_path / "pixart.toml").write_text("encoder_bits = 8\n")
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "a.png").code == 0
    assert stand_in.drawn[-1].text_encoder_bits == 8
    monkeypatch.setenv("PIXART_ENCODER_BITS", "4")
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "b.png").code == 0
    assert stand_in.drawn[-1].text_encoder_bits == 4
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "c.png", "--encoder-bits", 16).code == 0
    assert stand_in.drawn[-1].text_encoder_bits == 16
    (tmp_path / "pixart.toml").write_text("encoder_bits = 5\n")
    ran = pixart("gen", "sun", *SMALL, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "config-invalid")
    assert "pixart.toml:1" in ran.json["error"]["message"]


def test_a_line_of_a_list_has_its_own(pixart, stand_in, library, tmp_path):
    (tmp_path / "list.txt").write_text("a sun\n  --encoder-bits 4\na moon\n")
    assert (
        pixart("batch", "list.txt", "-r", "64x48", "-m", "sigma-256", "--encoder-bits", 8, "-o", "o/").code
        == 0
    )
    assert {r.prompt: r.text_encoder_bits for r in stand_in.drawn} == {"a sun": 4, "a moon": 8}
    # What is drawn is known again, and asked for in other bits it is another picture.
    before = len(stand_in.drawn)
    assert (
        pixart("batch", "list.txt", "-r", "64x48", "-m", "sigma-256", "--encoder-bits", 8, "-o", "o/").code
        == 0
    )
    assert len(stand_in.drawn) == before
    assert pixart("batch", "list.txt", "-r", "64x48", "-m", "sigma-256", "-o", "o/").code == 0
    assert [r.text_encoder_bits for r in stand_in.drawn[before:]] == [16]


@pytest.mark.parametrize("command", ["gen", "compare", "dry-run", "replay"])
def test_without_the_library_the_extra_is_named(pixart, library, tmp_path, monkeypatch, command):
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "--encoder-bits", 4, "-o", "x.png").code == 0
    monkeypatch.setattr(quantisation, "LIBRARY", "no-such-library")
    asked = ("-m", "sigma-256", "--encoder-bits", 8)
    words = {
        "gen": ("gen", "sun", *SMALL, *asked),
        "dry-run": ("gen", "sun", *SMALL, *asked, "--dry-run"),
        "compare": ("compare", "sun", "--models", "sigma-256", "--encoder-bits", 8),
        "replay": ("replay", "x.png"),
    }[command]
    error = pixart(*words, "--json").json["error"]
    assert (error["code"], error["exit"]) == ("extra-missing", 2)
    assert "pixart-cli[quant]" in error["hint"]


def test_a_list_that_needs_the_library_is_refused_before_anything_is_drawn(
    pixart, stand_in, missing, tmp_path
):
    (tmp_path / "list.txt").write_text("a moon\na sun\n  --encoder-bits 4\n")
    ran = pixart("batch", "list.txt", "-r", "64x48", "-m", "sigma-256", "-o", "o/")
    assert ran.code == 2
    assert "list.txt:2: --encoder-bits 4 needs" in ran.err
    assert stand_in.drawn == []


def test_of_the_built_in_model_it_is_of_no_use(pixart, stand_in, missing, tmp_path):
    ran = pixart("gen", "sun", *SMALL, "--encoder-bits", 8, "-o", "x.png")
    assert ran.code == 0
    assert "--encoder-bits 8 is of no use with mini" in ran.err
    assert stand_in.drawn[-1].text_encoder_bits == 16
    (tmp_path / "list.txt").write_text("a moon\n")
    ran = pixart("batch", "list.txt", "-r", "64x48", "--encoder-bits", 8, "-o", "o/")
    assert (ran.code, "of no use with mini" in ran.err) == (0, True)


def test_compare_asks_it_of_pixarts_models_alone(pixart, stand_in, library):
    ran = pixart("compare", "sun", "--models", "sigma-256,sdxl,mini", "--encoder-bits", 8, "-r", "64x48")
    assert ran.code == 0, ran.err
    assert {r.model: r.text_encoder_bits for r in stand_in.drawn} == {"sigma-256": 8, "sdxl": 16, "mini": 16}
    ran = pixart("gen", "sun", *SMALL, "-m", "sdxl", "--encoder-bits", 8)
    assert (ran.code, "--encoder-bits is for PixArt's networks" in ran.err) == (2, True)


def test_a_plan_says_it(pixart, library):
    ran = pixart(
        "gen", "sun", "-m", "sigma-1024", "--encoder-bits", 4, "--dry-run", "--device", "cpu", "--json"
    )
    assert ran.json["plan"]["text_encoder"] == "4-bit"
    assert any("its weights in 4 bits" in reason for reason in ran.json["plan"]["reasons"])
    assert ran.json["images"][0]["request"]["text_encoder_bits"] == 4
    eight, exact = (
        pixart(
            "gen",
            "sun",
            "-m",
            "sigma-1024",
            "--encoder-bits",
            bits,
            "--dry-run",
            "--memory",
            "full",
            "--json",
        )
        for bits in (8, 16)
    )
    assert 3e9 < eight.json["plan"]["estimate_bytes"] < exact.json["plan"]["estimate_bytes"]


def test_a_picture_of_real_networks_and_its_replay(shell, tmp_path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (pixart-cli[quant])")
    build_toy_model(tmp_path / "toy", encoder_width=64)
    asked = ("-m", "toy", "--steps", 1, "--encoder-bits", 8, "--prompt-cache", 0, "-o", "x.png")
    ran = shell("gen", "a red sun", *SMALL, *asked, "--json", timeout=600)
    facts = json.loads(ran.stdout)["images"][0]["provenance"]
    assert (facts["text_encoder"], "bitsandbytes" in facts) == ("8-bit", True)
    # Neither of the library's own warnings, of missing kernels and of float16, on standard error.
    assert [line for line in ran.stderr.splitlines() if b"seed 7" not in line] == []
    assert shell("replay", "x.png", "--model", "toy", timeout=600).stdout == b"exact\n"
