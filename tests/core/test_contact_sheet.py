"""Pictures and words where a reader expects them."""

from __future__ import annotations

import pytest
from PIL import Image

from pixart_cli.core.contact_sheet import SIDE, Cell, contact_sheet, thumbnail

RED, BLUE = (200, 30, 30), (30, 30, 200)


def cell(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (300, 200), title: str = "sdxl") -> Cell:
    return Cell(title, ("3.1 s", "2.1 GB"), Image.new("RGB", size, colour))


def colours(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in sheet.getcolors(1 << 24) or ()}  # type: ignore[misc]


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged() -> None:
    assert thumbnail(Image.new("RGB", (2048, 1024))).size == (SIDE, SIDE // 2)
    assert thumbnail(Image.new("RGB", (30, 9000))).size == (2, SIDE)
    assert thumbnail(Image.new("RGB", (100, 90))).size == (100, 90)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)]
)
def test_every_picture_is_there_whole(count: int, columns: int, rows: int) -> None:
    sheet = contact_sheet(["a sun", "seed 1"], [cell() for _ in range(count)])
    assert sheet.width == columns * (300 + 24) + 24
    assert sum(n for n, colour in sheet.getcolors(1 << 24) or () if colour == RED) == count * 300 * 200
    one = contact_sheet(["a sun", "seed 1"], [cell() for _ in range(columns)])
    assert (sheet.height > one.height) == (rows > 1)


def test_what_was_not_drawn_has_an_empty_place_and_its_words() -> None:
    there = contact_sheet(["a sun"], [cell(), Cell("sigma-2k", ("not drawn:", "no weights"))])
    silent = contact_sheet(["a sun"], [cell(), Cell("", ())])
    assert (238, 238, 238) in colours(there)
    assert there.size == silent.size
    assert there.tobytes() != silent.tobytes()


def test_long_words_stay_on_the_sheet() -> None:
    long = "x" * 400 + " " + "a prompt of very many words " * 40
    sheet = contact_sheet([long], [cell(title="a/very/long/name" * 9), cell(BLUE)])
    assert colours(sheet.crop((sheet.width - 10, 0, sheet.width, sheet.height))) == {(255, 255, 255)}
    assert {RED, BLUE} <= colours(sheet)


def test_any_text_can_be_written() -> None:
    plain = contact_sheet(["a"], [cell()])
    for text in ("\x1b[2J", "漢字", "\ud800", "", "\u202eabc", "a\nb"):
        assert contact_sheet([text], [cell(title=text)]).width == plain.width
