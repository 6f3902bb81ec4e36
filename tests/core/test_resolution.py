"""Sizes by name and by number, what is refused, and the bins by least crop."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.resolution import MAX_PIXELS, bins, choose_bin, named_sizes, parse_size

NATIVES = (256, 512, 1024, 2048)


def pixels(text: str) -> tuple[int, int]:
    size = parse_size(text)
    return size.width, size.height


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4k", (3840, 2160)), ("UHD", (3840, 2160)), (" 4K ", (3840, 2160)), ("2160p", (3840, 2160)),
        ("fhd", (1920, 1080)), ("1080p", (1920, 1080)), ("qhd", (2560, 1440)), ("1440p", (2560, 1440)),
        ("5k", (5120, 2880)), ("6k", (6016, 3384)), ("8k", (7680, 4320)), ("wuxga", (1920, 1200)),
        ("wqxga", (2560, 1600)), ("dci4k", (4096, 2160)), ("macbook-air-13", (2560, 1664)),
        ("macbook-pro-14", (3024, 1964)), ("macbook-pro-16", (3456, 2234)), ("uwfhd", (2560, 1080)),
        ("uwqhd", (3440, 1440)), ("uw4k", (3840, 1600)), ("5k2k", (5120, 2160)), ("dfhd", (3840, 1080)),
        ("dqhd", (5120, 1440)), ("duhd", (7680, 2160)), ("phone", (1290, 2796)),
        ("iphone-16-pro", (1206, 2622)), ("android", (1080, 2400)), ("ipad-pro-12.9", (2048, 2732)),
        ("square", (2048, 2048)), ("og", (1200, 630)), ("instagram", (1080, 1350)), ("story", (1080, 1920)),
        ("x-header", (1500, 500)), ("youtube-thumb", (1280, 720)),
        ("1920x1080", (1920, 1080)), ("1920 X 1080", (1920, 1080)), ("1920×1080px", (1920, 1080)),
        ("17x33", (17, 33)), ("16x16", (16, 16)), ("32768x16384", (32768, 16384)),
        ("4k:portrait", (2160, 3840)), ("4k:landscape", (3840, 2160)), ("phone:landscape", (2796, 1290)),
        ("square:landscape", (2048, 2048)), ("1080x1920:landscape", (1920, 1080)),
    ],
)  # fmt: skip
def test_screens(text: str, expected: tuple[int, int]) -> None:
    assert pixels(text) == expected
    assert (parse_size(text).dpi, parse_size(text).bleed_mm) == (None, 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a6", (620, 874)), ("a5", (874, 1240)), ("a4", (1240, 1754)), ("a3", (1754, 2480)),
        ("a2", (2480, 3508)), ("a1", (3508, 4967)), ("a0", (4967, 7022)), ("b2", (2953, 4175)),
        ("b1", (4175, 5906)), ("a3@300", (3508, 4961)), ("A3@300DPI", (3508, 4961)),
        ("a0@300", (9933, 14043)),
        ("a4+bleed", (1276, 1789)), ("a3+bleed@300", (3579, 5031)), ("a3@300+bleed", (3579, 5031)),
        ("b1+bleed@300", (8421, 11882)), ("letter", (1275, 1650)), ("legal", (1275, 2100)),
        ("tabloid", (1650, 2550)), ("11x17in", (1650, 2550)), ("18x24in", (2700, 3600)),
        ('18x24"', (2700, 3600)), ("18x24in@300", (5400, 7200)), ("18x24in+bleed", (2738, 3638)),
        ("24x36in+bleed@300", (7275, 10875)), ("27x40in", (4050, 6000)), ("one-sheet", (4050, 6000)),
        ("8x10in+bleed", (1238, 1538)), ("12x12in+bleed", (1838, 1838)), ("letter+bleed@300", (2625, 3375)),
        ("30x40cm", (1772, 2362)), ("210x297mm", (1240, 1754)), ("8.5x11in", (1275, 1650)),
        ("a3:landscape", (2480, 1754)), ("a3:landscape@300+bleed", (5031, 3579)), ("24x18in", (3600, 2700)),
        ("18x24in:landscape@150", (3600, 2700)), ("a4@72.5", (599, 848)),
    ],
)  # fmt: skip
def test_paper(text: str, expected: tuple[int, int]) -> None:
    assert pixels(text) == expected


def test_paper_says_its_dpi_name_and_bleed() -> None:
    size = parse_size("A3@300+bleed")
    assert (size.dpi, size.name, size.bleed_mm) == (300.0, "a3", 3.0)
    size = parse_size("18x24in+bleed")
    assert (size.dpi, size.name, size.bleed_mm) == (150.0, "18x24in", 3.175)
    assert parse_size("30x40cm").name == "30x40cm"
    assert (parse_size("1080p").name, parse_size("640x480").name) == ("fhd", None)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("4kk", "no size is named '4kk'", "Did you mean '4k'"),
        ("iphone-17", "no size is named 'iphone-17'", "iphone-1"),
        ("", "'' is not a size", "Write a name"),
        ("-1", "'-1' is not a size", "Write a name"),
        ("banana", "'banana' is not a size", "Write a name"),
        ("1024", "'1024' is one number", "Did you mean '1024x1024'?"),
        ("0x0", "is 0x0 pixels", "The least is 16 pixels a side."),
        ("15x64", "is 15x64 pixels", "The least is 16 pixels a side."),
        ("-1920x1080", "is -1920x1080 pixels", "The least is 16 pixels a side."),
        ("32769x32768", "is 32769x32768 pixels", "The most is 32768 pixels a side."),
        ("1000000x1000000", "is 1000000x1000000 pixels", "The most is 32768 pixels a side."),
        ("30000x30000", "is 30000x30000 pixels, 900 million", "The most is 600 million pixels"),
        ("a0@2400", "is 79465x112346 pixels", "The most is 32768 pixels a side."),
        ("18x24", "'18x24' has no unit", "Did you mean '18x24in'?"),
        ("8.5x11", "'8.5x11' has no unit", "Did you mean '8.5x11in'?"),
        ("640.5x480", "pixels are whole numbers", "Give a unit"),
        ("4k@150", "a size in pixels has no dpi", "Name a paper size"),
        ("4k+bleed", "a size in pixels has no dpi", "Name a paper size"),
        ("a3@0", "0 dpi", "Choose 1 to 2400 dpi."),
        ("a3@9999", "9999 dpi", "Choose 1 to 2400 dpi."),
        ("0x5in", "a side of 0", "Both sides must be positive."),
        ("a3@", "'a3@' is not a size", "Write a name"),
        ("a3@150@300", "is not a size", "Write a name"),
        ("4k:diagonal", "is not a size", "Write a name"),
        ("a3+frame", "is not a size", "Write a name"),
        ("4k:portrait:landscape", "is not a size", "Write a name"),
        ("١٩٢٠x١٠٨٠", "is not a size", "Write a name"),
        ("7200x1080", "is 7200x1080 pixels, 6.7:1", "The most is 6:1"),
        ("1080x7200", "so 40% of its picture would be cut away", "The most is 6:1"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(text: str, message: str, hint: str) -> None:
    with pytest.raises(PixartError, match=re.escape(message)) as caught:
        parse_size(text)
    assert caught.value.code == "size-invalid"
    assert hint in caught.value.hint


def test_a_very_long_size_is_refused_briefly() -> None:
    with pytest.raises(PixartError) as caught:
        parse_size("9" * 100_000 + "x1")
    assert len(caught.value.message) < 100


@given(st.text(max_size=40))
def test_any_text_gives_a_size_in_bounds_or_a_refusal(text: str) -> None:
    code, sides = "", (16, 16)
    try:
        sides = pixels(text)
    except PixartError as error:
        code = error.code
    assert code in ("", "size-invalid")
    assert min(sides) >= 16
    assert sides[0] * sides[1] <= MAX_PIXELS


@given(st.integers(100, 5000), st.integers(100, 5000), st.sampled_from(["portrait", "landscape"]))
def test_turning_keeps_the_sides(width: int, height: int, turn: str) -> None:
    if max(width, height) > 5 * min(width, height):
        return
    size = parse_size(f"{width}x{height}:{turn}")
    assert {size.width, size.height} == {width, height}
    assert (size.width >= size.height) if turn == "landscape" else (size.width <= size.height)


def test_every_name_is_there_once_and_can_be_drawn() -> None:
    names = [name for size in named_sizes() for name in (size.name, *size.aliases)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)
    assert all(parse_size(name).name in names for name in names)
    assert {size.unit for size in named_sizes()} == {"px", "mm", "in"}
    assert all(size.title and size.group for size in named_sizes())


@pytest.mark.parametrize("native", [*NATIVES, 4096])
def test_three_screens_are_cut_from_the_widest_bin(native: int) -> None:
    size = parse_size("triple")
    assert (size.width, size.height) == (5760, 1080)
    found = choose_bin(size.width, size.height, native)
    assert (found.width, found.height, found.crop) == (2 * native, native // 2, 0.25)
    turned = parse_size("triple:portrait")
    upright = choose_bin(turned.width, turned.height, native)
    assert (upright.width, upright.height) == (found.height, found.width)


def test_paper_is_listed_upright() -> None:
    assert all(size.width <= size.height for size in named_sizes() if size.unit != "px")


@pytest.mark.parametrize("native", NATIVES)
def test_bins_are_those_of_the_original_code(native: int) -> None:
    name = "sigma" if native == 2048 else "alpha"
    upstream = importlib.import_module(f"diffusers.pipelines.pixart_alpha.pipeline_pixart_{name}")
    table: Mapping[str, list[float]] = getattr(upstream, f"ASPECT_RATIO_{native}_BIN")
    assert set(bins(native)) == {(int(height), int(width)) for height, width in table.values()}
    assert len(bins(native)) == (40 if native == 2048 else 33)
    assert all(height % 16 == 0 and width % 16 == 0 for height, width in bins(native))


def test_bins_at_4096_are_ours_and_doubles() -> None:
    assert bins(4096) == tuple((2 * height, 2 * width) for height, width in bins(2048))
    assert choose_bin(3840, 2160, 4096).crop == choose_bin(3840, 2160, 2048).crop
    assert (choose_bin(4096, 4096, 4096).width, choose_bin(3840, 2160, 4096).width) == (4096, 5376)


def test_other_native_sizes_have_no_bins() -> None:
    with pytest.raises(KeyError):
        bins(768)


@pytest.mark.parametrize(
    ("text", "native", "expected", "crop"),
    [
        ("4k", 2048, (2688, 1536), 0.016), ("4k", 1024, (1344, 768), 0.016), ("4k", 256, (336, 192), 0.016),
        ("wuxga", 2048, (2560, 1536), 0.040), ("macbook-pro-16", 2048, (2432, 1664), 0.055),
        ("dci4k", 2048, (2688, 1408), 0.007), ("uwqhd", 2048, (3072, 1280), 0.005),
        ("uw4k", 1024, (1536, 640), 0.0), ("dqhd", 2048, (3712, 1024), 0.019),
        ("dqhd", 1024, (1856, 512), 0.019), ("phone", 2048, (1408, 2944), 0.035),
        ("android", 1024, (704, 1472), 0.059), ("iphone-se", 1024, (768, 1344), 0.016),
        ("tablet", 2048, (1792, 2304), 0.036), ("square", 2048, (2048, 2048), 0.0),
        ("a3+bleed", 2048, (1664, 2304), 0.015), ("a1+bleed", 1024, (832, 1152), 0.019),
        ("tabloid+bleed", 2048, (1664, 2432), 0.047), ("18x24in+bleed", 2048, (1792, 2304), 0.032),
        ("24x36in+bleed", 2048, (1664, 2432), 0.022), ("a3:landscape", 1024, (1152, 832), 0.021),
    ],
)  # fmt: skip
def test_the_bin_of_common_sizes(text: str, native: int, expected: tuple[int, int], crop: float) -> None:
    size = parse_size(text)
    chosen = choose_bin(size.width, size.height, native)
    assert (chosen.width, chosen.height) == expected
    assert chosen.native == native
    assert chosen.crop == pytest.approx(crop, abs=6e-4)


@given(st.integers(16, 9000), st.integers(16, 9000), st.sampled_from((*NATIVES, 4096)))
def test_no_bin_loses_less(width: int, height: int, native: int) -> None:
    chosen = choose_bin(width, height, native)
    for other_height, other_width in bins(native):
        scale = max(width / other_width, height / other_height)
        lost = 1 - width * height / (other_width * other_height * scale**2)
        assert chosen.crop <= lost + 1e-9
    assert 0 <= chosen.crop < 1
