"""Names of pictures: slugs, fields, places, and nothing outside the folder asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Size
from pixart_cli.core.settings import Job
from pixart_cli.core.template import FIELDS, MAX_SLUG, expand, output_paths, slug

SAFE = set("abcdefghijklmnopqrstuvwxyz0123456789-")


def job(prompt: str = "A red sun!", index: int = 0, preset: str | None = None, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "prompt": prompt, "model": "mini", "width": 256, "height": 384, "num_inference_steps": 2,
        "guidance_scale": 1.0, "scheduler": "lcm", "seed": 7,
    }  # fmt: skip
    request = GenerationRequest(**{**values, **changes})
    return Job(request, Size(request.width, request.height), preset, index)


def names(output: str | None, *jobs: Job, cwd: Path) -> list[str]:
    return [str(path.relative_to(cwd)) for path in output_paths(output, jobs, cwd=cwd)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A red sun over blue mountains", "a-red-sun-over-blue-mountains"),
        ("  Café — Zürich!! ", "cafe-zurich"),
        ("Straße, Łódź, smørrebrød", "strasse-lodz-smorrebrod"),
        ("../../etc/passwd", "etc-passwd"),
        ("con", "con-picture"),
        ("LPT1", "lpt1-picture"),
        ("-rf *", "rf"),
        ("a\x1b]0;x\x07b", "a-0-x-b"),
    ],
)
def test_slugs(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


def test_prompts_without_latin_letters_get_names_of_their_own() -> None:
    assert slug("赤い太陽").startswith("picture-")
    assert len({slug("赤い太陽"), slug("青い山"), slug("🎨"), slug("")}) == 4


def test_a_long_slug_is_cut_between_words() -> None:
    text = slug("word " * 40)
    assert text == "-".join(["word"] * 16)
    assert slug("x" * 200) == "x" * MAX_SLUG


@given(st.text())
def test_every_slug_is_a_short_plain_word(prompt: str) -> None:
    text = slug(prompt)
    assert set(text) <= SAFE
    assert 0 < len(text) <= MAX_SLUG
    assert text[0] != "-"
    assert text[-1] != "-"


def test_every_field_can_be_used() -> None:
    fields = {name: f"v{number}" for number, name in enumerate(FIELDS)}
    template = "_".join(f"{{{name}}}" for name in FIELDS)
    assert expand(template, fields) == "v0_v1_v2_v3_v4_v5_v6_v7"


def test_slug_and_fingerprint_can_be_shortened() -> None:
    fields = {"slug": "a-red-sun", "fingerprint": "0123456789abcdef"}
    assert expand("{slug:5}-{fingerprint:8}.png", fields) == "a-red-01234567.png"
    assert expand("{slug:99}", fields) == "a-red-sun"


@pytest.mark.parametrize(
    "template",
    [
        "{prompt}", "{slug.__class__}", "{slug!r}", "{slug[0]}", "{seed:8}", "{slug:0}", "{slug:x}",
        "{slug:1000000000}", "{}", "{0}", "{ slug }", "{slug", "slug}", "{{slug}}", "{slug:>80}",
    ],
)  # fmt: skip
def test_nothing_else_is_a_template(template: str) -> None:
    with pytest.raises(PixartError) as caught:
        expand(template, dict.fromkeys(FIELDS, "x"))
    assert caught.value.code == "output-invalid"


@given(st.text(), st.sampled_from(FIELDS))
def test_no_value_adds_a_folder_or_hides_a_file(value: str, name: str) -> None:
    text = expand(f"{{{name}}}", {name: value})
    assert text
    assert not set(text) & set('/\\:*?"<>|\x00 \n')
    assert text[0] not in ".-"


def test_the_default_name(tmp_path: Path) -> None:
    assert names(None, job(), cwd=tmp_path) == ["a-red-sun-7.png"]


def test_the_name_is_of_the_prompt_that_was_typed(tmp_path: Path) -> None:
    styled = job("a woodcut of a fox")
    styled = Job(styled.request, styled.size, "woodcut", 0, prompt="a fox")
    assert names("{slug}-{preset}.png", styled, cwd=tmp_path) == ["a-fox-woodcut.png"]


def test_paths_are_absolute(tmp_path: Path) -> None:
    assert output_paths("x.png", [job()], cwd=tmp_path) == [tmp_path / "x.png"]
    assert output_paths(str(tmp_path / "y.png"), [job()], cwd=Path("/")) == [tmp_path / "y.png"]


def test_a_folder_ends_in_a_slash_or_exists(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "odd{1}").mkdir()
    assert names("new/", job(), cwd=tmp_path) == ["new/a-red-sun-7.png"]
    assert names("there", job(), cwd=tmp_path) == ["there/a-red-sun-7.png"]
    assert names(".", job(), cwd=tmp_path) == ["a-red-sun-7.png"]
    assert names("odd{1}", job(), cwd=tmp_path) == ["odd{1}/a-red-sun-7.png"]
    assert names("{model}/", job(), cwd=tmp_path) == ["mini/a-red-sun-7.png"]


def test_home_is_read_where_no_shell_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    assert names("~/art/{seed}.png", job(), cwd=tmp_path) == ["ann/art/7.png"]


def test_one_file_is_for_one_picture(tmp_path: Path) -> None:
    assert names("poster.png", job(), cwd=tmp_path) == ["poster.png"]
    assert names("poster", job(), cwd=tmp_path) == ["poster"]
    for output in ("poster.png", "-"):
        with pytest.raises(PixartError, match="2 pictures do not fit") as caught:
            output_paths(output, [job(), job(index=1, seed=8)], cwd=tmp_path)
        assert caught.value.code == "output-invalid"


def test_standard_output(tmp_path: Path) -> None:
    assert output_paths("-", [job()], cwd=tmp_path) == [Path("-")]


def test_a_template_with_every_field(tmp_path: Path) -> None:
    one = job(preset="flat", model="./models/My Model/")
    template = "{model}/{preset}/{width}x{height}-{index}-{fingerprint:8}.png"
    recorded = replace(one.request, model="My Model")
    expected = f"My-Model/flat/256x384-1-{recorded.fingerprint[:8]}.png"
    assert names(template, one, cwd=tmp_path) == [expected]
    assert names("{preset}.png", job(), cwd=tmp_path) == ["none.png"]


def test_the_index_is_as_wide_as_the_last_one(tmp_path: Path) -> None:
    jobs = [job(index=index, seed=index) for index in range(10)]
    found = names("{index}.png", *jobs, cwd=tmp_path)
    assert (found[0], found[9]) == ("01.png", "10.png")


def test_names_that_coincide_are_numbered(tmp_path: Path) -> None:
    jobs = [job(index=0), job(index=1), job("a RED sun", index=2)]
    assert names(None, *jobs, cwd=tmp_path) == ["a-red-sun-7.png", "a-red-sun-7-2.png", "a-red-sun-7-3.png"]
    assert names("x-{width}.png", *jobs[:2], cwd=tmp_path) == ["x-256.png", "x-256-2.png"]


@pytest.mark.parametrize("output", ["a.jpg", "a.JPEG", "{slug}.webp", "out/a.tiff"])
def test_other_formats_are_refused(output: str, tmp_path: Path) -> None:
    with pytest.raises(PixartError, match="pictures are written as PNG") as caught:
        output_paths(output, [job()], cwd=tmp_path)
    assert ".png'" in caught.value.hint


@pytest.mark.parametrize("output", ["a\x00.png", "a\nb.png", "\x1b[2J.png", "caf\udce9.png"])
def test_control_characters_are_refused(output: str, tmp_path: Path) -> None:
    with pytest.raises(PixartError) as caught:
        output_paths(output, [job()], cwd=tmp_path)
    assert caught.value.code == "output-invalid"


def test_names_are_measured_in_bytes(tmp_path: Path) -> None:
    fits = "漢" * 83 + ".png"
    assert names(fits, job(), cwd=tmp_path) == [fits]
    with pytest.raises(PixartError, match="longer than 255 bytes"):
        output_paths("漢" * 84 + ".png", [job()], cwd=tmp_path)
    with pytest.raises(PixartError, match="longer than 255 bytes"):
        output_paths("{slug}" * 4 + ".png", [job("x" * 80)], cwd=tmp_path)


def test_fields_lead_out_of_the_folder_neither_by_link_nor_by_dots(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-red-sun").symlink_to("/tmp")
    for output in ("out/{slug}/x.png", "out/{seed}/../../x.png", "{seed}/../../x.png"):
        with pytest.raises(PixartError, match="leads out of") as caught:
            output_paths(output, [job()], cwd=tmp_path)
        assert caught.value.code == "output-invalid"


def test_dots_and_links_that_were_typed_are_the_users_own(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "link").symlink_to(tmp_path)
    assert output_paths("../{slug}.png", [job()], cwd=here) == [here / "../a-red-sun.png"]
    assert output_paths("link/{slug}.png", [job()], cwd=here) == [here / "link/a-red-sun.png"]


def test_a_folder_whose_name_is_no_text_is_a_folder_all_the_same(tmp_path: Path) -> None:
    here = tmp_path / os.fsdecode(b"caf\xe9")
    assert output_paths(None, [job()], cwd=here) == [here / "a-red-sun-7.png"]


def test_ten_thousand_of_one_name_are_all_different(tmp_path: Path) -> None:
    jobs = [job(index=index, seed=index) for index in range(10_000)]
    found = names("x-{width}.png", *jobs, cwd=tmp_path)
    assert (found[1], found[-1], len(set(found))) == ("x-256-2.png", "x-256-10000.png", 10_000)


def test_links_of_many_pictures_are_followed_once_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: followed.append(str(path)) or realpath(path))
    jobs = [job(prompt, index=index, seed=index) for index, prompt in enumerate(["sun", "moon"] * 50)]
    output_paths("out/{slug}/{seed}.png", jobs, cwd=tmp_path)
    assert sorted(followed) == [f"{tmp_path}/{name}" for name in ("out", "out/moon", "out/sun")]


def test_a_link_that_only_the_last_of_many_goes_through_is_found(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "9").symlink_to("/tmp")
    jobs = [job(index=index, seed=index) for index in range(10)]
    with pytest.raises(PixartError, match="leads out of"):
        output_paths("out/{seed}/x.png", jobs, cwd=tmp_path)


PROMPTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")).filter(str.strip)


@given(PROMPTS, st.sampled_from([None, "out/", "{slug:9}-{model}.png"]))
def test_whatever_is_drawn_stays_inside(prompt: str, output: str | None) -> None:
    cwd = Path("/nonexistent")
    (path,) = output_paths(output, [job(prompt, model=prompt)], cwd=cwd)
    assert path.parent == (cwd / "out" if output == "out/" else cwd)
    assert path.suffix == ".png"


def test_the_fingerprint_of_a_name_is_that_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spelled = [job(model=model) for model in ("mine", "mine/", "./mine", str(tmp_path / "mine"))]
    found = {name for each in spelled for name in names("{fingerprint:16}.png", each, cwd=tmp_path)}
    assert found == {f"{spelled[0].request.fingerprint[:16]}.png"}
