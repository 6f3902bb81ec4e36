"""`pixart presets`: the lists, and what one preset sets."""

import tomllib

from pixart_cli.core.presets import all_presets, get_preset
from pixart_cli.core.resolution import named_sizes, parse_size


def test_every_preset_is_listed(pixart):
    ran = pixart("presets", "list")
    assert [line.split()[0] for line in ran.out.splitlines()] == list(all_presets())
    document = pixart("presets", "list", "--json").json
    assert [preset["name"] for preset in document["presets"]] == list(all_presets())


def test_every_size_is_listed_with_what_it_gives(pixart):
    lines = pixart("presets", "list", "--sizes").out.splitlines()
    assert len(lines) == len(named_sizes())
    assert "3840x2160" in next(line for line in lines if line.startswith("4k"))
    sizes = {size["name"]: size for size in pixart("presets", "list", "--sizes", "--json").json["sizes"]}
    assert list(sizes) == [size.name for size in named_sizes()]
    for name in ("4k", "phone", "a3", "18x24in"):
        size = parse_size(name)
        found = next(row for row in sizes.values() if name in (row["name"], *row["aliases"]))
        assert (found["width"], found["height"], found["dpi"]) == (size.width, size.height, size.dpi)


def test_a_preset_is_shown_as_the_toml_it_could_be(pixart):
    for name, preset in all_presets().items():
        shown = pixart("presets", "show", name)
        assert (shown.code, tomllib.loads(shown.out)) == (0, dict(preset.settings))
    (said,) = pixart("presets", "show", name, "--json").json["presets"]
    assert said["settings"] == dict(get_preset(name).settings)


def test_an_unknown_preset_gets_did_you_mean(pixart):
    first = next(iter(all_presets()))
    ran = pixart("presets", "show", first + "x")
    assert (ran.code, f"Did you mean {first!r}" in ran.err) == (2, True)


def test_a_user_s_preset_is_listed_and_its_mistakes_are_told(pixart, own_folders):
    folder = own_folders / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('title = "My \\u001b[2J own"\nres = "4k"\n')
    out = pixart("presets", "list").out
    assert "mine" in out
    assert "\x1b" not in out
    (folder / "mine.toml").write_text("rse = 1\n")
    ran = pixart("presets", "list")
    assert (ran.code, "mine.toml" in ran.err) == (2, True)
