"""Presets: those that ship are sound, and a user's own extend and shadow them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import presets_dir
from pixart_cli.core.presets import all_presets, get_preset
from pixart_cli.core.resolution import parse_size

SHIPPED = sorted(path.stem for path in presets_dir().glob("*.toml"))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "presets").mkdir()
    return {"PIXART_CONFIG_DIR": str(tmp_path)}


def write(environ: dict[str, str], name: str, text: str) -> Path:
    path = Path(environ["PIXART_CONFIG_DIR"]) / "presets" / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_preset_that_ships_is_whole(name: str, environ: dict[str, str]) -> None:
    preset = get_preset(name, environ)
    assert preset.name == name
    assert preset.title
    assert preset.description.endswith(".")
    assert preset.group in ("wallpaper", "poster", "cover", "social", "style")
    assert preset.settings
    assert preset.source.name == f"{name}.toml"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("wallpaper-4k", (3840, 2160)), ("wallpaper-ultrawide", (3440, 1440)),
        ("wallpaper-dual", (5120, 1440)),
        ("wallpaper-phone", (1290, 2796)), ("poster-a3", (1754, 2480)), ("poster-a2", (2480, 3508)),
        ("poster-18x24", (2700, 3600)), ("poster-24x36", (3600, 5400)), ("album-cover", (3000, 3000)),
        ("book-cover", (1600, 2560)), ("social-card", (1200, 630)), ("story", (1080, 1920)),
    ],
)  # fmt: skip
def test_presets_for_a_place_have_its_size(name: str, size: tuple[int, int]) -> None:
    found = parse_size(get_preset(name).settings["res"])
    assert (found.width, found.height) == size


def test_styles_put_a_sentence_around_the_prompt() -> None:
    styles = [preset for preset in all_presets().values() if preset.group == "style"]
    assert {"flat", "bauhaus", "ukiyo-e", "film-noir", "art-deco", "risograph", "travel-poster"} <= {
        preset.name for preset in styles
    }
    assert all(preset.settings["prompt"].count("{prompt}") == 1 for preset in styles)


def test_all_presets_are_listed_in_order(environ: dict[str, str]) -> None:
    write(environ, "ann", 'title = "Ann"\nsteps = 3\n')
    presets = all_presets(environ)
    assert list(presets) == sorted([*SHIPPED, "ann"])
    assert (presets["ann"].group, presets["ann"].description) == ("own", "")


def test_extends_lays_the_child_over_the_parent(environ: dict[str, str]) -> None:
    write(environ, "mine", 'extends = "travel-poster"\nres = "a2"\nsteps = 30\n')
    preset = get_preset("mine", environ)
    parent = get_preset("travel-poster", environ)
    assert preset.settings == {**parent.settings, "res": "a2", "steps": 30}
    assert (preset.extends, preset.title, preset.group) == ("travel-poster", "mine", "style")


def test_a_users_preset_shadows_and_may_extend_its_namesake(environ: dict[str, str]) -> None:
    path = write(environ, "flat", 'extends = "flat"\nres = "qhd"\n')
    preset = get_preset("flat", environ)
    assert preset.source == path
    assert preset.settings == {**get_preset("flat", {}).settings, "res": "qhd"}
    assert get_preset("mid-century", environ).settings["res"] == "qhd"


def test_a_circle_is_refused(environ: dict[str, str]) -> None:
    write(environ, "a", 'extends = "b"\n')
    write(environ, "b", 'extends = "c"\n')
    write(environ, "c", 'extends = "a"\n')
    with pytest.raises(PixartError, match=r"c\.toml: extends itself: a -> b -> c -> a") as caught:
        get_preset("a", environ)
    assert caught.value.code == "preset-invalid"
    write(environ, "me", 'extends = "me"\n')
    with pytest.raises(PixartError, match="extends itself: me -> me"):
        get_preset("me", environ)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("\nstep = 3\n", "x.toml:2: unknown key 'step'", "Did you mean 'steps'?"),
        ("title = 3\n", "x.toml:1: title cannot be 3", "Expected text."),
        ("res = '4kk'\n", "x.toml:1: no size is named '4kk'", "Did you mean '4k'"),
        ("prompt = 'a poster'\n", "x.toml:1: prompt must hold {prompt} exactly once", "Write the style"),
        ("force = true\n", "x.toml:1: unknown key 'force'", ""),
        ("device = 'cpu'\n", "x.toml:1: unknown key 'device'", ""),
        ("width = 3\n", "x.toml:1: unknown key 'width'", ""),
        ("extends = 'flatt'\n", "x.toml: extends 'flatt', which does not exist", "Did you mean 'flat'"),
        ("= 1", "x.toml:1: ", "Write one 'key = value' a line"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    environ: dict[str, str], text: str, message: str, hint: str
) -> None:
    write(environ, "x", text)
    with pytest.raises(PixartError) as caught:
        get_preset("x", environ)
    assert caught.value.code == "preset-invalid"
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_broken_preset_does_not_spoil_the_others(environ: dict[str, str]) -> None:
    write(environ, "x", "nonsense")
    assert get_preset("flat", environ).settings["prompt"]
    with pytest.raises(PixartError, match=r"x\.toml"):
        all_presets(environ)


@pytest.mark.parametrize("name", ["poster-a4", "../flat", "", "flat.toml"])
def test_an_unknown_preset_gets_a_suggestion(name: str, environ: dict[str, str]) -> None:
    with pytest.raises(PixartError, match="no preset is named") as caught:
        get_preset(name, environ)
    assert caught.value.code == "preset-unknown"
    assert ("Did you mean" in caught.value.hint) == bool(name)
