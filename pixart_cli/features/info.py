"""What a PNG says of itself, read without decoding a single pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixart_cli.core import infotext, metadata
from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import Record
from pixart_cli.core.png import PngText, read_text


@dataclass(frozen=True, kw_only=True)
class Description:
    """One picture. `record` is ours, `settings` are those of another program's `parameters` text.

    `width` and `height` are the file's own, in pixels; `parameters` is that text as it stands.
    """

    path: Path
    width: int
    height: int
    dpi: float | None
    record: Record | None
    settings: dict[str, Any] | None
    parameters: str | None


def describe(path: Path) -> Description:
    """What the picture at `path` says.

    Raises:
        PixartError: "image-invalid" or "disk"; "metadata-missing" when it says nothing; "metadata-invalid"
            when it holds a record of ours that cannot be believed.
    """
    png = read_text(path)
    parameters = png.texts.get("parameters")
    ours = metadata.KEY in png.texts
    if not ours and parameters is None:
        hint = "Pictures drawn by pixart do, and those of programs that write 'parameters'."
        raise PixartError("metadata-missing", f"{path}: does not say how it was made", hint)
    return Description(
        path=path,
        width=png.width,
        height=png.height,
        dpi=png.dpi,
        record=metadata.load(png.texts[metadata.KEY], source=str(path)) if ours else None,
        settings=None if ours else _foreign(png),
        parameters=parameters,
    )


def _foreign(png: PngText) -> dict[str, Any] | None:
    """The settings in another program's text, as far as it follows the usual form."""
    try:
        return infotext.parse(png.texts["parameters"])
    except PixartError:
        return None
