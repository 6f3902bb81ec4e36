"""`pixart eval` at the door."""

import json

import pytest

pytestmark = pytest.mark.exemplars


def test_a_table_on_standard_output_and_a_folder_that_is_gone_on_with(pixart, stand_in, tmp_path) -> None:
    ran = pixart("eval", "--suite", "mini", "--prompts", 2, "--device", "cpu")
    assert (ran.code, ran.out.splitlines()[0][:13]) == (0, "| kind | aske")
    assert "1/2 wrong: a triangle on a gray background" in ran.err
    folder = tmp_path / "eval-mini-mini-1"
    assert json.loads((folder / "00000/metadata.jsonl").read_text())["tag"] == "single_object"
    found = pixart("eval", "--prompts", 2, "--device", "cpu", "--json").json
    assert (found["schema"], found["ok"], found["kept"]) == ("pixart.eval/1", True, 2)
    assert found["rows"][0]["asked"] == 2
    assert found["images"][1]["path"] == "eval-mini-mini-1/00001/samples/0000.png"
    assert json.loads((folder / "summary.json").read_text())["rows"] == found["rows"]
    assert len(stand_in.drawn) == 2


def test_mistakes(pixart, stand_in, tmp_path) -> None:
    assert pixart("eval", "--suite", "geneval").code == 2
    assert pixart("eval", "--prompts", 0).code == 2
    assert pixart("eval", "-m", "nothing").code == 2
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine.txt").write_text("mine")
    assert pixart("eval", "--prompts", 1, "-o", "x", "--json").json["error"]["code"] == "output-invalid"
    assert stand_in.drawn == []
