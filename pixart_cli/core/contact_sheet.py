"""Several pictures on one sheet, each with its words under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.terminal import plain

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE: Final = 512
"""Pixels that a picture on a sheet takes at most, along each side."""
_MARGIN: Final = 24
_SIZES: Final = {"heading": 26, "title": 22, "line": 17}
_PAPER, _INK, _GREY, _EMPTY = "#ffffff", "#1a1a1a", "#5c5c5c", "#eeeeee"
_MOST_HEADING_LINES: Final = 3
_LEADING: Final = 1.35


@dataclass(frozen=True)
class Cell:
    """One place on a sheet: `title` and `lines` of words; `picture` is None for what could not be drawn."""

    title: str
    lines: tuple[str, ...]
    picture: Image | None = None


def thumbnail(picture: Image) -> Image:
    """`picture` as it will be on a sheet: at most `SIDE` pixels along each side."""
    from PIL.Image import Resampling

    factor = min(1.0, SIDE / max(picture.size))
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.copy() if factor == 1.0 else picture.resize((width, height), Resampling.LANCZOS)


def contact_sheet(heading: Sequence[str], cells: Sequence[Cell]) -> Image:
    """The sheet: `heading` above, then `cells` row by row, as many in a row as there are rows, or more.

    Words that are too long are wrapped; characters that would steer a terminal are spelled out.
    """
    from PIL import Image, ImageDraw

    columns = len(cells) if len(cells) <= 3 else math.ceil(math.sqrt(len(cells)))
    width = max(cell.picture.width if cell.picture else 0 for cell in cells) or SIDE
    width = max(width, SIDE // 2)
    tall = max((cell.picture.height for cell in cells if cell.picture), default=SIDE)
    total = columns * (width + _MARGIN) + _MARGIN
    above = _wrapped(heading[:1], "heading", total - 2 * _MARGIN)[:_MOST_HEADING_LINES]
    below = _wrapped(heading[1:], "line", total - 2 * _MARGIN)
    words = [_wrapped([cell.title], "title", width) for cell in cells]
    lines = [_wrapped(cell.lines, "line", width) for cell in cells]
    under = max(_height(t, "title") + _height(b, "line") for t, b in zip(words, lines, strict=True))
    top = _MARGIN + _height(above, "heading") + _height(below, "line") + _MARGIN
    step = tall + _MARGIN // 2 + under + _MARGIN
    sheet = Image.new("RGB", (total, top + math.ceil(len(cells) / columns) * step), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _write(draw, _MARGIN, _MARGIN, above, "heading", _INK)
    _write(draw, _MARGIN, y, below, "line", _GREY)
    for index, cell in enumerate(cells):
        left = _MARGIN + index % columns * (width + _MARGIN)
        y = top + index // columns * step
        if cell.picture is None:
            draw.rectangle((left, y, left + width - 1, y + tall - 1), fill=_EMPTY)
        else:
            sheet.paste(cell.picture, (left, y + tall - cell.picture.height))
        y = _write(draw, left, y + tall + _MARGIN // 2, words[index], "title", _INK)
        _write(draw, left, y, lines[index], "line", _GREY)
    return sheet


def _font(kind: str) -> Any:
    """Pillow's own: the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(_SIZES[kind])


def _wrapped(texts: Sequence[str], kind: str, width: int) -> list[str]:
    font = _font(kind)
    found = []
    for text in texts:
        line = ""
        for word in plain(text).split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                found.append(line)
                longer = word
            line = longer
        found.append(line)
    return [_cut(line, font, width) for line in found if line]


def _cut(line: str, font: Any, width: int) -> str:
    """`line`, its end left away where one word is too long."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _height(lines: Sequence[str], kind: str) -> int:
    return math.ceil(len(lines) * _SIZES[kind] * _LEADING)


def _write(draw: Any, x: int, y: int, lines: Sequence[str], kind: str, colour: str) -> int:
    """`lines` from `y` down; gives where the next one begins."""
    for index, line in enumerate(lines):
        draw.text((x, y + _height(lines[:index], kind)), line, font=_font(kind), fill=colour)
    return y + _height(lines, kind)
