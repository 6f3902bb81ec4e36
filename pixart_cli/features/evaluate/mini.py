"""The suite `mini`: GenEval's six kinds of question, asked of the built-in model's posters.

The kinds and their names are GenEval's (Ghosh, Hajishirzi and Schmidt, 2023): a picture is right when all
that its question asks for is there. Things, words and the judge are those of `diffusion/posters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pixart_cli.diffusion.posters.scene import Group, Landscape, Scene, Shapes, is_held_out, sample_scene
from pixart_cli.features.evaluate.captions import SIZES, Poster, Posters
from pixart_cli.features.evaluate.suite import Mark, Question
from pixart_cli.features.evaluate.wording import words_for

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Final = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
ROLES: Final = ("celestial", "flyers", "standing")
_COLOURED: Final = ("counting", "colors", "position", "color_attr")  # kinds whose prompts name things' inks


class Mini(Posters):
    """The six kinds in turn, each in landscapes and in free shapes, none in the same words twice."""

    name: ClassVar[str] = "mini"
    definition: ClassVar[str] = "mini-5"
    rows: ClassVar[Sequence[str]] = KINDS

    def questions(self, count: int, seed: int) -> list[Question[Poster]]:
        """The first `count` questions of `seed`."""
        asked: set[str] = set()
        found: list[Question[Poster]] = []
        for number in range(count):
            kind, rng = KINDS[number % len(KINDS)], Random(f"{self.definition} {seed} {number}")
            prompt, poster = _new(kind, rng, asked)
            asked.add(prompt)
            width, height = rng.choice(SIZES)
            found.append(
                Question(
                    number=number, kind=kind, prompt=prompt, width=width, height=height,
                    seed=seed + number, wanted=poster,
                )
            )  # fmt: skip
        return found

    def judge(self, question: Question[Poster], picture: Image) -> list[Mark]:
        """One mark: whether all that was asked for is there."""
        from pixart_cli.diffusion.posters.detector import detect

        poster = question.wanted
        found = detect(picture, unsaid_inks_open(poster), poster.asked)
        return [(question.kind, all(found.values()))]


_TRIES: Final = 2000


def _new(kind: str, rng: Random, asked: set[str]) -> tuple[str, Poster]:
    """A held-out question of `kind` in words not among `asked`; after many tries, in words that are."""
    tries = 0
    while True:
        world = rng.choice((Landscape, Shapes))
        poster = None
        while poster is None or not is_held_out(poster.scene):
            scene = sample_scene(rng, held_out=True)
            poster = _fit(kind, scene, rng) if isinstance(scene, world) else None
        prompt = words_for(poster.scene, poster.asked, rng, inks=kind in _COLOURED)
        tries += 1
        if prompt not in asked or tries > _TRIES:
            return prompt, poster


def _fit(kind: str, scene: Scene, rng: Random) -> Poster | None:
    """What `kind` can ask of `scene`, with all else taken out of it; None if nothing."""
    if isinstance(scene, Shapes):
        return _fit_shapes(kind, scene)
    return _fit_landscape(kind, scene, rng) if isinstance(scene, Landscape) else None


def _fit_shapes(kind: str, scene: Shapes) -> Poster | None:
    first = scene.groups[0]
    if len(scene.groups) == 1:
        wanted = _of_one(kind, first, "shape0")
        # Where a shape stands is asked of pairs alone: as a relation.
        return None if wanted is None or kind == "position" else Poster(scene, wanted)
    if first.kind == scene.groups[1].kind:
        return None
    wanted = {
        "two_object": frozenset({"shape0.kind", "shape1.kind"}),
        "position": frozenset({"relation"}),
        "color_attr": frozenset({"shape0.colour", "shape1.colour"}),
    }.get(kind)
    return None if wanted is None else Poster(scene, wanted)


def _fit_landscape(kind: str, scene: Landscape, rng: Random) -> Poster | None:
    groups = {"celestial": scene.celestial, "flyers": scene.flyers, "standing": scene.standing}
    there = {role: group for role, group in groups.items() if group is not None and group.kind != "stars"}
    if kind in ("two_object", "color_attr"):
        pair = ("celestial", "standing")
        if any(role not in there or there[role].count != 1 for role in pair):
            return None
        what = "kind" if kind == "two_object" else "colour"
        return Poster(_only(scene, pair), frozenset(f"{role}.{what}" for role in pair))
    fitting = {role: wanted for role, group in there.items() if (wanted := _of_one(kind, group, role))}
    if not fitting:
        return None
    role = rng.choice(sorted(fitting))
    return Poster(_only(scene, (role,)), fitting[role])


def _of_one(kind: str, group: Group, role: str) -> frozenset[str] | None:
    """The attributes that `kind` asks of a single group."""
    if kind == "counting":
        return frozenset({f"{role}.kind", f"{role}.count"}) if group.count > 1 else None
    if group.count != 1 or (kind == "position" and group.place is None):
        return None
    more = {"single_object": "kind", "colors": "colour", "position": "place"}.get(kind)
    return None if more is None else frozenset({f"{role}.kind", f"{role}.{more}"})


def _only(scene: Landscape, roles: tuple[str, ...]) -> Landscape:
    """`scene` by no special time, with nothing in it but `roles`."""
    gone: dict[str, Any] = {role: None for role in ROLES if role not in roles}
    return replace(scene, time=None, **gone)


def unsaid_inks_open(poster: Poster) -> Scene:
    """The scene with no ink where none is asked for, so that things of any ink count."""

    def opened(group: Group, role: str) -> Group:
        return group if f"{role}.colour" in poster.asked else replace(group, colour="")

    scene = poster.scene
    if isinstance(scene, Shapes):
        groups = tuple(opened(group, f"shape{i}") for i, group in enumerate(scene.groups))
        return replace(scene, groups=groups)
    if isinstance(scene, Landscape):
        there: dict[str, Any] = {role: getattr(scene, role) for role in ROLES}
        there = {role: group and opened(group, role) for role, group in there.items()}
        return replace(scene, **there)
    return scene
