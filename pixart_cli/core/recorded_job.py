"""A picture's record as a job of a prompt list: what, typed again, asks for the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_NAME, FIELDS
from pixart_cli.core.lora import read_recorded
from pixart_cli.core.metadata import Record
from pixart_cli.core.options import PICTURE_SETTINGS
from pixart_cli.core.resolution import parse_size
from pixart_cli.core.settings import NO_PRESET

# Said in words of its own: what is drawn, its size, and files that a record names by their hash.
_OWN: Final = ("prompt", "width", "height", "lora", "init_image", "strength")


def options_of(record: Record, places: Mapping[str, str]) -> dict[str, Any]:
    """Every option that has a part in the request of `record`, defaults too: no file or variable changes it.

    Args:
        record: what the picture says of itself; its prompt has a preset's sentence around it already.
        places: where the files lie that it names, by their sha256.

    Raises:
        PixartError: "lora-missing" or "init-image-missing" for a file that `places` has not.
    """
    request = record.request
    options: dict[str, Any] = {"preset": NO_PRESET, "res": size_text(record), "count": 1}
    options |= {f.key: getattr(request, f.name) for f in FIELDS if f.name not in _OWN}
    options["lora"] = tuple(
        f"{_place(places, each.sha256, 'lora')}:{Decimal(repr(each.scale)):f}"
        for each in read_recorded(request.lora)
    )
    if request.init_image:
        options["init_image"] = _place(places, request.init_image, "init-image")
        options["strength"] = request.strength
    return options


def _place(places: Mapping[str, str], sha256: str, kind: str) -> str:
    if sha256 in places:
        return places[sha256]
    what = f"drawn with a file that is not at hand, sha256 {sha256}"
    raise PixartError(f"{kind}-missing", what, f"Name it with --{kind}.")


def size_text(record: Record) -> str:
    """The size of `record` as it may have been asked for, dots per inch included where a name says them."""
    request, dpi, name = record.request, record.output["dpi"], record.output["name"]
    for text in _spellings(name, dpi):
        try:
            size = parse_size(text)
        except PixartError:
            continue
        if (size.width, size.height, size.dpi) == (request.width, request.height, dpi):
            return text
    return f"{request.width}x{request.height}"


def _spellings(name: str | None, dpi: float | None) -> Iterator[str]:
    for turn in ("", ":portrait", ":landscape"):
        for bleed in ("", "+bleed"):
            if name is not None:
                yield f"{name}{turn}{bleed}" + ("" if dpi is None else f"@{dpi:g}")


def options_of_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options in another program's settings, by request field as `infotext.parse` gives them.

    Its model is not ours, and what no option takes is left out.
    """
    found = {BY_NAME[name].key: value for name, value in settings.items() if name in BY_NAME}
    if "width" in found and "height" in found:
        found["res"] = f"{found['width']}x{found['height']}"
    wanted = ("res", "negative", "steps", "guidance", "scheduler", "seed")
    return {key: found[key] for key in wanted if key in found and _is_taken(key, found[key])}


def _is_taken(key: str, value: Any) -> bool:
    try:
        PICTURE_SETTINGS[key].check(value, source="")
    except PixartError:
        return False
    return True
