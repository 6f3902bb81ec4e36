"""What a list asks for is printed and counted, with what cannot be drawn, and nothing is drawn or written."""

import json

import pytest

SMALL = ("-r", "64x48")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# three\nred sun\n  --seed 7\nwhite moon\n  -s 8 -r 32x32\n\ngreen {hill|sea}\n  -s 9\n")
    return path


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_check_prints_the_pictures_and_draws_none(pixart, prompts, stand_in, tmp_path):
    ran = pixart("batch", "list.txt", "--check", *SMALL)
    lines = ran.out.splitlines()
    assert (ran.code, lines[-1], len(lines)) == (0, "4 pictures", 5)
    assert lines[1].split("  ") == ["list.txt:4", "white-moon-8.png", "32x32", "seed 8", "mini", "white moon"]
    assert pixart("batch", "list.txt", "--check", "--json").json["count"] == 4
    assert events(pixart("batch", "list.txt", "--check", "--json-stream").out)[-1]["count"] == 4
    assert (stand_in.drawn, [path.name for path in tmp_path.iterdir()]) == ([], ["list.txt"])


def test_check_names_what_cannot_be_drawn(pixart, prompts):
    first, last = "zeppelin\n  --init-image none.png\n", "x\n  --lora none.safetensors\n"
    prompts.write_text(first + prompts.read_text() + last)
    ran = pixart("batch", "list.txt", "--check", *SMALL)
    assert (ran.code, ran.out.splitlines()[-1]) == (7, "4 pictures")
    assert "error: list.txt:1: init image none.png" in ran.err
    assert "error: 2 pictures of 6 cannot be drawn" in ran.err
    document = pixart("batch", "list.txt", "--check", "--json").json
    assert (document["count"], len(document["images"]), document["error"]["exit"]) == (4, 4, 7)
    assert [each["error"]["code"] for each in document["failed"]] == ["init-image-missing", "lora-missing"]
    found = events(pixart("batch", "list.txt", "--check", "--json-stream").out)
    assert [event["event"] for event in found] == ["failed", *["picture"] * 4, "failed", "done"]
    assert (found[-1]["schema"], found[-1]["count"]) == ("pixart.batch/1", 4)
