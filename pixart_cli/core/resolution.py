"""Sizes by name, in pixels or on paper, and the aspect-ratio bin that fits one best.

The names and the bins are data: ``sizes.toml``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import MAX_SIDE

MIN_SIDE: Final = 16
MAX_PIXELS: Final = 600_000_000
MAX_RATIO: Final = 6.0  # three screens side by side are 5.3:1
DEFAULT_DPI: Final = 150.0
MAX_DPI: Final = 2400.0

_PER_INCH: Final = {"in": 1.0, "cm": 2.54, "mm": 25.4}
_BLEED: Final = {"in": 0.125, "cm": 0.3, "mm": 3.0}  # a side, as printers ask: US 1/8 in, ISO 3 mm
_BASE: Final = r"(?P<base>[^@:+]+)"
_SUFFIX: Final = re.compile(
    r"@(?P<dpi>[0-9]+(?:\.[0-9]+)?)(?:dpi)?|:(?P<turn>portrait|landscape)|\+(?P<bleed>bleed)"
)
_WHOLE: Final = re.compile(_BASE + r"(?P<suffixes>(?:[@:+].*)?)")
_MEASURED: Final = re.compile(
    r"(?P<width>-?[0-9]+(?:\.[0-9]+)?)\s*[x×]\s*(?P<height>-?[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>px|in|cm|mm|\")?"
)


@dataclass(frozen=True)
class Size:
    """Delivered pixels, bleed included. `dpi`, `name` and `bleed_mm` (a side) are what they came from."""

    width: int
    height: int
    dpi: float | None = None
    name: str | None = None
    bleed_mm: float = 0.0


@dataclass(frozen=True)
class NamedSize:
    """One row of the table of sizes; `unit` is "px", "mm" or "in"."""

    name: str
    group: str
    title: str
    width: float
    height: float
    unit: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bin:
    """A size a network was trained at. `crop` is the part of its picture, 0 to 1, that is cut away."""

    width: int
    height: int
    native: int
    crop: float


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("sizes.toml").read_text(encoding="utf-8"))


@cache
def named_sizes() -> tuple[NamedSize, ...]:
    """Every size that has a name, in the table's order."""
    return tuple(_named(row) for row in _data()["size"])


def _named(row: dict[str, Any]) -> NamedSize:
    name, *aliases = row["names"]
    width, height = row["size"]
    return NamedSize(name, row["group"], row["title"], width, height, row.get("unit", "px"), tuple(aliases))


@cache
def _by_name() -> dict[str, NamedSize]:
    return {name: size for size in named_sizes() for name in (size.name, *size.aliases)}


def parse_size(text: str) -> Size:
    """The size that `text` names: ``4k``, ``1920x1080``, ``a3``, ``18x24in``, with suffixes.

    Suffixes, in any order: ``@DPI`` and ``+bleed`` (paper only), ``:portrait`` and ``:landscape``.
    Upper and lower case are alike. Paper is 150 dpi unless said.

    Raises:
        PixartError: "size-invalid" for an unknown name, a malformed text, or a size out of bounds.
    """
    whole = _WHOLE.fullmatch(text.strip().lower()) if len(text) <= 80 else None
    if whole is None:
        raise _malformed(text)
    suffixes = _suffixes(whole["suffixes"], text)
    named = _lookup(whole["base"].strip(), text)
    if "turn" in suffixes and (named.width > named.height) != (suffixes["turn"] == "landscape"):
        named = _turned(named)
    size = _pixels(named, text, suffixes) if named.unit == "px" else _paper(named, text, suffixes)
    _check_bounds(size, text)
    return size


def _suffixes(text: str, whole: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _SUFFIX.match(text, at)
        kind = match.lastgroup if match else None
        if match is None or kind is None or kind in found:
            raise _malformed(whole)
        found[kind] = match[kind]
        at = match.end()
    return found


def _lookup(base: str, text: str) -> NamedSize:
    if base in _by_name():
        return _by_name()[base]
    match = _MEASURED.fullmatch(base)
    if match is None:
        raise _unknown(base, text)
    unit = {'"': "in", None: "px"}.get(match["unit"], match["unit"])
    if unit == "px" and f"{match['width']}x{match['height']}in" in _by_name():
        raise PixartError("size-invalid", f"{text!r} has no unit", f"Did you mean '{base}in'?")
    if unit == "px" and "." in base:
        hint = "Give a unit for paper, as 8.5x11in."
        raise PixartError("size-invalid", f"{text!r}: pixels are whole numbers", hint)
    return NamedSize("", "", "", float(match["width"]), float(match["height"]), unit)


def _turned(named: NamedSize) -> NamedSize:
    return replace(named, width=named.height, height=named.width)


def _pixels(named: NamedSize, text: str, suffixes: dict[str, str]) -> Size:
    if "dpi" in suffixes or "bleed" in suffixes:
        raise PixartError(
            "size-invalid",
            f"{text!r}: a size in pixels has no dpi and no bleed",
            "Name a paper size, as a3@150 or 18x24in+bleed.",
        )
    return Size(int(named.width), int(named.height), name=named.name or None)


def _paper(named: NamedSize, text: str, suffixes: dict[str, str]) -> Size:
    dpi = float(suffixes.get("dpi", DEFAULT_DPI))
    if not 1 <= dpi <= MAX_DPI:
        raise PixartError("size-invalid", f"{text!r}: {dpi:g} dpi", f"Choose 1 to {MAX_DPI:g} dpi.")
    if min(named.width, named.height) <= 0:
        raise PixartError(
            "size-invalid",
            f"{text!r}: a side of {min(named.width, named.height):g}",
            "Both sides must be positive.",
        )
    bleed = _BLEED[named.unit] if "bleed" in suffixes else 0.0
    inch = _PER_INCH[named.unit]
    width, height = (round((side + 2 * bleed) / inch * dpi) for side in (named.width, named.height))
    name = named.name or f"{named.width:g}x{named.height:g}{named.unit}"
    return Size(width, height, dpi=dpi, name=name, bleed_mm=round(bleed / inch * 25.4, 3))


def _check_bounds(size: Size, text: str) -> None:
    width, height = size.width, size.height
    shown = f"{text!r} is {width}x{height} pixels"
    if min(width, height) < MIN_SIDE:
        raise PixartError("size-invalid", shown, f"The least is {MIN_SIDE} pixels a side.")
    if max(width, height) > MAX_SIDE:
        raise PixartError("size-invalid", shown, f"The most is {MAX_SIDE} pixels a side.")
    if width * height > MAX_PIXELS:
        raise PixartError(
            "size-invalid",
            f"{shown}, {width * height / 1e6:.0f} million",
            f"The most is {MAX_PIXELS // 10**6} million pixels; choose fewer dpi.",
        )
    ratio = max(width, height) / min(width, height)
    if ratio > MAX_RATIO:
        lost = f"no network draws beyond 4:1, so {1 - 4 / ratio:.0%} of its picture would be cut away"
        hint = f"The most is {MAX_RATIO:g}:1; 'triple' (5760x1080) is 5.3:1, 'dqhd' (5120x1440) 3.6:1."
        raise PixartError("size-invalid", f"{shown}, {ratio:.1f}:1: {lost}", hint)


def _malformed(text: str) -> PixartError:
    shown = repr(text if len(text) <= 60 else text[:57] + "...")
    hint = "Write a name (4k, phone, a3), pixels (1920x1080) or paper (a3@150, 18x24in+bleed)."
    return PixartError("size-invalid", f"{shown} is not a size", hint)


def _unknown(base: str, text: str) -> PixartError:
    if re.fullmatch(r"[0-9]+", base):
        return PixartError("size-invalid", f"{text!r} is one number", f"Did you mean '{base}x{base}'?")
    close = get_close_matches(base, list(_by_name()), n=3, cutoff=0.6)
    if not close:
        return _malformed(text)
    hint = "Did you mean " + " or ".join(repr(name) for name in close) + "?"
    return PixartError("size-invalid", f"no size is named {base!r}", hint)


@cache
def bins(native: int) -> tuple[tuple[int, int], ...]:
    """The (height, width) pairs a network of native size 256, 512, 1024 or 2048 was trained at, or for 4096.

    The tables of Chen et al. (2024), arXiv 2403.04692; 512 and 256 are halves and quarters of 1024. Nothing
    was published at 4096: our own table follows the same rule, and is 2048's doubled.

    Raises:
        KeyError: for any other native size.
    """
    source = {256: 1024, 512: 1024, 1024: 1024, 2048: 2048, 4096: 2048}[native]
    table = _data()["bins"][str(source)]
    return tuple((height * native // source, width * native // source) for height, width in table)


def choose_bin(width: int, height: int, native: int) -> Bin:
    """The bin that loses least when its picture is scaled to cover `width` x `height` and cropped.

    Ties go to the nearest ratio height / width, which is the rule of the original code.
    """
    wanted = height / width

    def loss(size: tuple[int, int]) -> tuple[float, float]:
        ratio = size[0] / size[1]
        return 1 - min(ratio, wanted) / max(ratio, wanted), abs(ratio - wanted)

    best = min(bins(native), key=loss)
    return Bin(width=best[1], height=best[0], native=native, crop=loss(best)[0])
