"""Questions in words: a scene said plainly, with what is asked for and the ground it stands on."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from pixart_cli.diffusion.posters.caption import (
    PLACE_WORDS,
    RELATION_WORDS,
    colour_word,
    number_word,
    thing_word,
    with_article,
)
from pixart_cli.diffusion.posters.scene import Group, Landscape, Scene, Shapes
from pixart_cli.diffusion.posters.vocabulary import LAND_WORDS

_COUNTABLE = ("sea", "forest", "city")


def words_for(scene: Scene, asked: Collection[str], rng: Random, *, inks: bool) -> str:
    """`scene` as a prompt that names its things, with their `inks` or without, and its grounds.

    Places and relations are said where `asked` holds them.
    """
    if isinstance(scene, Shapes):
        return _shapes(scene, asked, rng, inks=inks)
    if isinstance(scene, Landscape):
        return _landscape(scene, asked, rng, inks=inks)
    raise TypeError("stripes hold no things")


def _thing(group: Group, rng: Random, *, ink: bool) -> str:
    """ "a tree", "three red boats"."""
    single, several = thing_word(group.kind, rng)
    colour = colour_word(group.colour, rng) + " " if ink else ""
    if group.count == 1:
        return f"{with_article(colour or single)} {colour}{single}"
    return f"{number_word(group.count, rng)} {colour}{several}"


def _shapes(scene: Shapes, asked: Collection[str], rng: Random, *, inks: bool) -> str:
    things = [_thing(group, rng, ink=inks) for group in scene.groups]
    joint = rng.choice(RELATION_WORDS[scene.relation]) if scene.relation and "relation" in asked else "and"
    ground = colour_word(scene.background, rng)
    return f"{f' {joint} '.join(things)} on {with_article(ground)} {ground} background"


def _landscape(scene: Landscape, asked: Collection[str], rng: Random, *, inks: bool) -> str:
    said = {}
    for role in ("celestial", "flyers", "standing"):
        group: Group | None = getattr(scene, role)
        if group is not None:
            said[role] = _thing(group, rng, ink=inks)
            if group.place is not None and f"{role}.place" in asked:
                said[role] += " " + rng.choice(PLACE_WORDS[group.place])
    sky = colour_word(scene.sky, rng)
    ground = f"{_land(scene, rng)} under {with_article(sky)} {sky} sky"
    head = f"{said.pop('celestial')} over {ground}" if "celestial" in said else ground
    return head + "".join(f" with {thing}" for thing in said.values())


def _land(scene: Landscape, rng: Random) -> str:
    words = f"{colour_word(scene.land_colour, rng)} {LAND_WORDS[scene.land][0]}"
    return f"{with_article(words)} {words}" if scene.land in _COUNTABLE else words
