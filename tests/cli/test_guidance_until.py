"""`--guidance-until` from the command line, files and lists to the record, and back from it."""

import pytest

from pixart_cli.core.catalog import get_model
from pixart_cli.core.metadata import read_record

SMALL = ("-r", "64x48", "-s", 7)


def test_each_model_has_its_own(pixart, stand_in):
    assert pixart("gen", "sun", *SMALL, "-o", "a.png").code == 0
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "b.png").code == 0
    own = [get_model(name).default_guidance_until for name in ("mini", "sigma-256")]
    assert [request.guidance_until for request in stand_in.drawn] == own == [0.7, 1.0]


def test_it_is_recorded_and_asked_for_again(pixart, stand_in, tmp_path):
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "--guidance-until", 0.5, "-o", "x.png").code == 0
    record = read_record(tmp_path / "x.png")
    assert record.request.guidance_until == stand_in.drawn[-1].guidance_until == 0.5
    assert pixart("gen", "sun", *SMALL, "-m", "sigma-256", "-o", "y.png").code == 0
    assert read_record(tmp_path / "y.png").fingerprint != record.fingerprint
    assert "guidance_until" in pixart("info", "x.png").out
    again = pixart("replay", "x.png", "--json").json
    assert (again["verdict"], again["request"]["guidance_until"]) == ("exact", 0.5)
    (tmp_path / "again.txt").write_text(pixart("info", "x.png", "--as", "batch").out)
    assert pixart("batch", "again.txt", "-o", "again/").code == 0
    assert stand_in.drawn[-1] == record.request


def test_files_variables_and_lists_know_it(pixart, stand_in, tmp_path, monkeypatch):
    (tmp_path / "pixart.toml").write_text("guidance_until = 0.6\n")
    assert pixart("gen", "sun", *SMALL, "-o", "a.png").code == 0
    assert stand_in.drawn[-1].guidance_until == 0.6
    monkeypatch.setenv("PIXART_GUIDANCE_UNTIL", "0")
    assert pixart("gen", "sun", *SMALL, "-o", "b.png").code == 0
    assert stand_in.drawn[-1].guidance_until == 0.0
    (tmp_path / "list.txt").write_text("a sun\n  --guidance-until 0.25\na moon\n")
    assert pixart("batch", "list.txt", "-r", "64x48", "--guidance-until", 1, "-o", "o/").code == 0
    assert {r.prompt: r.guidance_until for r in stand_in.drawn[-2:]} == {"a sun": 0.25, "a moon": 1.0}


@pytest.mark.parametrize("value", ["1.1", "-0.5", "nan", "half"])
def test_what_is_no_share_is_refused(pixart, value):
    assert pixart("gen", "sun", *SMALL, f"--guidance-until={value}").code == 2


def test_other_networks_are_guided_throughout(pixart, stand_in):
    ran = pixart("gen", "sun", *SMALL, "-m", "sdxl", "--guidance-until", 0.5)
    assert (ran.code, "--guidance-until is for PixArt's networks" in ran.err) == (2, True)
    ran = pixart("compare", "sun", "--models", "sdxl,mini", "--guidance-until", 0.5, "-r", "64x48")
    assert ran.code == 0
    assert {r.model: r.guidance_until for r in stand_in.drawn} == {"sdxl": 1.0, "mini": 0.5}
