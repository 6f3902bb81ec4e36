"""Scenes: what one training picture shows, drawn by chance from the vocabulary.

A scene is data. `draw.py` turns it into a picture, `caption.py` into words, `detector.py` finds it again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from random import Random

from pixart_cli.diffusion.posters.palette import contrast
from pixart_cli.diffusion.posters.vocabulary import (
    CELESTIAL,
    COLOURS,
    LAND_DEFAULTS,
    LANDS,
    LEAST_CONTRAST,
    PLACES,
    RELATIONS,
    SHAPES,
    STANDING,
    TIMES,
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """`count` things of one kind and ink; `place` only where a single thing stands in one third."""

    kind: str
    count: int
    colour: str
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Sky over land, perhaps with a sun or moon, something in the air and something standing."""

    sky: str
    land: str
    land_colour: str
    time: str | None = None
    celestial: Group | None = None
    flyers: Group | None = None
    standing: Group | None = None


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Free shapes on a ground: one group, or two single shapes in a stated relation."""

    background: str
    groups: tuple[Group, ...]
    relation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Stripes of two inks; `direction` is "vertical", "horizontal" or "diagonal"."""

    first: str
    second: str
    direction: str


Scene = Landscape | Shapes | Stripes


def sample_scene(rng: Random, *, held_out: bool = False) -> Scene:
    """A scene by chance; with `held_out` one that holds a combination training never shows."""
    while True:
        draw = rng.random()
        scene: Scene = _landscape(rng) if draw < 0.68 else _shapes(rng) if draw < 0.96 else _stripes(rng)
        if is_held_out(scene) == held_out:
            return scene


def is_held_out(scene: Scene) -> bool:
    """Whether any combination of thing, ink and place (or ground) in `scene` is kept from training."""
    return any(_kept_back(combination) for combination in _combinations(scene))


def _combinations(scene: Scene) -> list[str]:
    if isinstance(scene, Stripes):
        return [f"stripes {scene.first} {scene.second}"]
    if isinstance(scene, Shapes):
        return [f"{g.kind} {g.colour} {scene.background}" for g in scene.groups]
    found = [f"{scene.land} {scene.land_colour} {scene.sky}"]
    groups = [group for group in (scene.celestial, scene.standing) if group is not None]
    return found + [f"{group.kind} {group.colour} {group.place}" for group in groups]


def _kept_back(combination: str) -> bool:
    # One combination in eight, chosen by its own name: the split needs no list and never changes.
    return hashlib.sha256(combination.encode()).digest()[0] < 32


@cache
def inks_against(behind: tuple[str, ...]) -> tuple[str, ...]:
    """The inks that stand off from every ink of `behind`."""
    return tuple(c for c in COLOURS if all(contrast(c, other) >= LEAST_CONTRAST for other in behind))


def _landscape(rng: Random) -> Landscape:
    time = rng.choice(tuple(TIMES)) if rng.random() < 0.3 else None
    sky = rng.choice(TIMES[time]) if time else rng.choice(tuple(COLOURS))
    land = rng.choice(LANDS)
    common = tuple(c for c in LAND_DEFAULTS[land] if c in inks_against((sky,)))
    usual = bool(common) and rng.random() < 0.35
    land_colour = rng.choice(common if usual else inks_against((sky,)))
    return Landscape(
        sky=sky,
        time=time,
        land=land,
        land_colour=land_colour,
        celestial=_celestial(rng, sky, land_colour, time),
        flyers=_flyers(rng, sky, time),
        standing=_standing(rng, land, land_colour, sky),
    )


def _celestial(rng: Random, sky: str, land_colour: str, time: str | None) -> Group | None:
    if rng.random() < 0.2:
        return None
    kind = "moon" if time == "night" else "sun" if time == "day" else rng.choice(CELESTIAL)
    inks = inks_against((sky, land_colour)) or inks_against((sky,))
    usual = tuple(
        c for c in (("yellow", "red", "orange") if kind == "sun" else ("white", "cream")) if c in inks
    )
    colour = rng.choice(usual) if usual and rng.random() < 0.3 else rng.choice(inks)
    return Group(kind=kind, count=1, colour=colour, place=rng.choice(PLACES))


def _flyers(rng: Random, sky: str, time: str | None) -> Group | None:
    draw = rng.random()
    if time == "night" and draw < 0.6:
        return Group(kind="stars", count=0, colour="white")
    if draw < 0.6:
        return None
    kind = rng.choice(("cloud", "bird"))
    wanted = ("white", "cream", "gray") if kind == "cloud" else ("black", "white", "navy")
    inks = [c for c in wanted if c in inks_against((sky,))]
    if not inks:
        return None
    return Group(kind=kind, count=rng.randint(1, 4), colour=inks[0])


def _standing(rng: Random, land: str, land_colour: str, sky: str) -> Group | None:
    kinds = STANDING[land]
    inks = inks_against((land_colour, sky))
    if not kinds or not inks or rng.random() < 0.45:
        return None
    count = rng.choice((1, 1, 2, 3, 4))
    place = rng.choice(PLACES) if count == 1 else None
    return Group(kind=rng.choice(kinds), count=count, colour=rng.choice(inks), place=place)


def _shapes(rng: Random) -> Shapes:
    background = rng.choice(tuple(COLOURS))
    first_ink = rng.choice(inks_against((background,)))
    if rng.random() < 0.5:
        count = rng.choice((1, 1, 2, 3, 4))
        place = rng.choice(PLACES) if count == 1 else None
        group = Group(kind=rng.choice(SHAPES), count=count, colour=first_ink, place=place)
        return Shapes(background=background, groups=(group,))
    second_ink = rng.choice(inks_against((background, first_ink)) or (first_ink,))
    pair = tuple(Group(kind=rng.choice(SHAPES), count=1, colour=c) for c in (first_ink, second_ink))
    return Shapes(background=background, groups=pair, relation=rng.choice(RELATIONS))


def _stripes(rng: Random) -> Stripes:
    first = rng.choice(tuple(COLOURS))
    direction = rng.choice(("vertical", "horizontal", "diagonal"))
    return Stripes(first=first, second=rng.choice(inks_against((first,))), direction=direction)
