"""The pixel detector: for each attribute a caption asked for, whether the picture shows it.

It knows nothing of captions or networks. It is asked about a scene and looks at pixels only, so drawn
pictures give its ceiling and pictures of other scenes its floor.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pixart_cli.diffusion.posters.exemplars import kind_of_outline
from pixart_cli.diffusion.posters.scene import Group, Landscape, Scene, Shapes, Stripes
from pixart_cli.diffusion.posters.seeing import (
    GROUND,
    INKS,
    Array,
    Piece,
    ink_map,
    ink_of_region,
    pieces,
    small_pieces,
    to_lab,
)
from pixart_cli.diffusion.posters.terrain import kind_of_land
from pixart_cli.diffusion.posters.vocabulary import FAMILIES, PLACES, TIMES

if TYPE_CHECKING:
    from PIL import Image

_STRANGE = 0.42  # an outline farther than this from all that was ever drawn is no thing at all
_SKY = 0.52  # of the height: what has its middle above is in the sky, what has it below is not


def detect(picture: Image.Image, scene: Scene, asked: Collection[str]) -> dict[str, bool]:
    """For every attribute of `asked` (the names of `Caption.asked`), whether `picture` shows it.

    A group without colour ("") is found in any ink.
    """
    pixels = to_lab(picture)
    if isinstance(scene, Landscape):
        things = small_pieces(pixels)
        found = _landscape(pixels, things, scene)
        if "land.kind" in asked:  # the lands it compares with take long to draw
            found["land.kind"] = kind_of_land(pixels, things) == scene.land
    elif isinstance(scene, Shapes):
        found = _shapes(pixels, scene)
    else:
        found = _stripes(pixels, scene)
    return {name: bool(found[name]) for name in asked}


def _landscape(pixels: Array, things: list[Piece], scene: Landscape) -> dict[str, bool]:
    height = len(pixels)
    sky = ink_of_region(pixels[: max(2, round(0.15 * height))])
    land = ink_of_region(pixels[-max(2, round(0.1 * height)) :])
    found = {
        "sky.colour": sky == scene.sky,
        "time": scene.time is not None and sky in TIMES[scene.time],
        "land.colour": land == scene.land_colour,
    }
    above, below = [p for p in things if p.y <= _SKY], [p for p in things if p.y >= _SKY]
    if scene.celestial is not None:
        found |= _group(above, scene.celestial, "celestial")
    if scene.flyers is not None and scene.flyers.kind == "stars":
        found["flyers.kind"] = _is_starry(pixels)
    elif scene.flyers is not None:
        found |= _group(above, scene.flyers, "flyers")
    if scene.standing is not None:
        found |= _group(below, scene.standing, "standing")
    return found


def _group(things: list[Piece], group: Group, role: str) -> dict[str, bool]:
    alike = [p for p in things if _is_a(group.kind, p)]
    inked = [p for p in alike if p.ink == group.colour]
    return {
        f"{role}.kind": bool(alike),
        f"{role}.colour": bool(inked),
        f"{role}.count": len(inked or alike) == group.count,
        f"{role}.place": group.place is not None and any(_place(p) == group.place for p in inked or alike),
    }


def _is_a(wanted: str, piece: Piece) -> bool:
    """Whether `piece` looks like that more than like whatever else may be where it is."""
    family = next(family for family in FAMILIES if wanted in family)
    kind, distance = kind_of_outline(piece.outline, family)
    return kind == wanted and distance < _STRANGE


def _place(piece: Piece) -> str:
    return PLACES[min(2, int(piece.x * 3))]


def _is_starry(pixels: Array) -> bool:
    """At least six small lights in the upper half."""
    upper = pixels[: len(pixels) // 2]
    light = upper[..., 0] - np.median(upper[..., 0])
    peaks = (light > 20) & (light >= _neighbourhood(light))
    return int(peaks.sum()) >= 6


def _neighbourhood(light: Array) -> Array:
    padded = np.pad(light, 1, mode="edge")
    h, w = light.shape
    shifted = [padded[a : a + h, b : b + w] for a in range(3) for b in range(3)]
    return np.asarray(np.max(shifted, axis=0))


def _shapes(pixels: Array, scene: Shapes) -> dict[str, bool]:
    ground = np.concatenate([pixels[:6].reshape(-1, 3), pixels[-6:].reshape(-1, 3)])
    seen = ink_of_region(ground)
    found = {"background.colour": seen == scene.background}
    # A large ground is no thing, neither the one asked for nor another.
    things = [p for p in pieces(pixels) if p.ink not in (scene.background, seen) or p.area < GROUND]
    for i, group in enumerate(scene.groups):
        same = [g for g in scene.groups if g.kind == group.kind]
        found |= _group(things, group, f"shape{i}")
        if len(same) > 1:  # two of one kind, told apart by ink alone
            found[f"shape{i}.count"] = found[f"shape{i}.colour"]
    if scene.relation is not None:
        found["relation"] = _related(things, scene)
    return found


def _related(things: list[Piece], scene: Shapes) -> bool:
    ends = []
    for group in scene.groups:
        fitting = [p for p in things if group.colour in ("", p.ink) and _is_a(group.kind, p)]
        if not fitting:
            return False
        ends.append(max(fitting, key=lambda p: p.area))
    dx, dy = ends[0].x - ends[1].x, ends[0].y - ends[1].y
    return {"left of": dx < -0.1, "right of": dx > 0.1, "above": dy < -0.1, "below": dy > 0.1}[
        scene.relation or ""
    ]


def _stripes(pixels: Array, scene: Stripes) -> dict[str, bool]:
    inks = ink_map(pixels)
    share = [float((inks == INKS.index(colour)).mean()) for colour in (scene.first, scene.second)]
    first = (inks == inks[0, 0]).astype(np.float32)
    across, down = np.abs(np.diff(first, axis=1)).sum(), np.abs(np.diff(first, axis=0)).sum()
    total = max(1.0, float(across + down))
    seen = "vertical" if across / total > 0.8 else "horizontal" if down / total > 0.8 else "diagonal"
    return {
        "stripes.kind": min(share) > 0.2 and total > 2.5 * min(inks.shape),
        "stripes.colours": min(share) > 0.25,
        "stripes.direction": seen == scene.direction,
    }
