"""Many pictures on one: what an evaluation saw, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixart_cli.core.png import encode
from pixart_cli.core.publish import publish

if TYPE_CHECKING:
    from PIL.Image import Image


def write_sheet(pictures: Sequence[Image], path: Path) -> None:
    """Write the pictures in rows to `path`, a PNG, in place of what was there.

    Raises:
        PixartError: as `publish`.
    """
    publish(encode(rows_of_pictures(pictures), [], dpi=None), path, force=True)


def rows_of_pictures(pictures: Sequence[Image], columns: int = 8, cell: int = 192) -> Image:
    """The pictures in rows, each fitted into a square cell of `cell` pixels."""
    from PIL import Image as Pillow

    rows = -(-len(pictures) // columns)
    sheet = Pillow.new("RGB", (columns * (cell + 6) + 6, rows * (cell + 6) + 6), (250, 250, 250))
    for i, picture in enumerate(pictures):
        small = picture.copy()
        small.thumbnail((cell, cell), Pillow.Resampling.LANCZOS)
        x, y = 6 + (i % columns) * (cell + 6), 6 + (i // columns) * (cell + 6)
        sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))
    return sheet
