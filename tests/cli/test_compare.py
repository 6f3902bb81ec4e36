"""`pixart compare` at the door: streams, the document, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pixart_cli.cli.compare import count_words
from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import read_record
from tests.conftest import Pixart, StandIn

WORDS = ("compare", "a red sun", "-r", "128x64", "-s", "5")


def test_paths_on_standard_output_and_words_beside(pixart: Pixart, tmp_path: Path) -> None:
    ran = pixart(*WORDS, "--models", "mini, sdxl,", "-o", "x.png")
    assert (ran.code, ran.out) == (0, "x-mini.png\nx-sdxl.png\nx.png\n")
    assert "mini: 0.5 s, loading included, " in ran.err
    assert " of memory at most, " in ran.err
    assert read_record(tmp_path / "x-sdxl.png").request.model == "sdxl"
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.width > 256
    again = pixart(*WORDS, "--models", "mini,sdxl", "-o", "x.png")
    assert (again.code, "exists already" in again.err) == (2, True)
    assert pixart(*WORDS, "--models", "mini,sdxl", "-o", "x.png", "-f", "-q").err == ""


def test_one_document(pixart: Pixart) -> None:
    found = pixart(*WORDS, "--models", "mini,cascade", "-o", "x.png", "--json").json
    assert (found["schema"], found["ok"], found["sheet"]) == ("pixart.compare/1", True, "x.png")
    assert found["failures"] == []
    first, second = found["images"]
    assert (first["path"], first["model"], first["seed"], first["width"]) == ("x-mini.png", "mini", 5, 128)
    assert (second["request"]["scheduler"], second["request"]["num_inference_steps"]) == ("wuerstchen", 20)
    assert first["peak_memory_bytes"] > 0
    assert first["parameters"] == sum(first["parameters_by_network"].values()) > 1_000_000


@pytest.mark.parametrize("as_json", [True, False])
def test_a_model_that_fails_is_named_and_the_others_go_on(
    pixart: Pixart, stand_in: StandIn, tmp_path: Path, as_json: bool
) -> None:
    (tmp_path / "broken").mkdir()
    words = (*WORDS, "--models", "mini,./broken,sdxl", "-o", "x.png")
    ran = pixart(*words, *(["--json"] if as_json else []))
    assert ran.code == 7
    assert [request.model for request in stand_in.drawn] == ["mini", "sdxl"]
    assert (tmp_path / "x.png").exists()
    if not as_json:
        assert ran.out == "x-mini.png\nx-sdxl.png\nx.png\n"
        assert "error: ./broken: " in ran.err
        assert "1 of 3 models drew nothing: ./broken" in ran.err
        return
    found = ran.json
    assert (found["ok"], found["error"]["code"], found["error"]["exit"]) == (False, "batch-partial", 7)
    assert [image["model"] for image in found["images"]] == ["mini", "sdxl"]
    assert [(each["model"], each["error"]["exit"]) for each in found["failures"]] == [("./broken", 4)]
    assert found["sheet"] == "x.png"


def test_when_none_draws_the_code_is_the_failures_own_and_there_is_no_sheet(
    pixart: Pixart, stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.fail_at, stand_in.failure = 0, PixartError("model-missing", "not here", "Fetch it.")
    ran = pixart(*WORDS, "--models", "sdxl,cascade", "-o", "x.png")
    assert (ran.code, ran.out) == (3, "")
    assert "error: no model drew anything: not here\nhint: Fetch it." in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--models", "mini,mini"), ("--models", ","), ("--models", "sdxxl,mini"), (),
        ("--models", "mini", "-o", "-"), ("--models", "mini", "-r", "tiny"),
        ("--models", "mini", "--device", "cuda:7"), ("--models", "cascade", "--refine", "direct"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_drawn(
    pixart: Pixart, stand_in: StandIn, words: tuple[str, ...]
) -> None:
    assert pixart("compare", "a red sun", *words).code == 2
    assert stand_in.drawn == []


def test_counts_in_words() -> None:
    shown = [count_words(count) for count in (999, 56_900, 6_950_000, 5.45e9)]
    assert shown == ["999", "56.9 thousand", "6.95 million", "5.45 billion"]
