"""Questions in words."""

from random import Random

import pytest

from pixart_cli.diffusion.posters.scene import Group, Landscape, Shapes, Stripes
from pixart_cli.features.evaluate.wording import words_for

SUN = Group(kind="sun", count=1, colour="orange", place="left")
TREES = Group(kind="tree", count=3, colour="black")


def test_things_are_said_with_and_without_their_inks() -> None:
    scene = Landscape(sky="white", land="forest", land_colour="black", celestial=SUN, standing=TREES)
    plain = words_for(scene, {"celestial.kind"}, Random(2), inks=False)
    assert plain.startswith("a sun over a black forest under a white sky with ")
    assert "orange" not in plain
    said = words_for(scene, {"celestial.place"}, Random(2), inks=True)
    assert said.startswith(("an orange sun on the left", "an orange sun to the left", "an orange sun at the"))


def test_relations_are_said_when_asked_for() -> None:
    pair = (Group(kind="star", count=1, colour="red"), Group(kind="square", count=1, colour="blue"))
    scene = Shapes(background="white", groups=pair, relation="left of")
    assert "left of" in words_for(scene, {"relation"}, Random(1), inks=True)
    assert words_for(scene, set(), Random(1), inks=False) == "a star and a square on a white background"


def test_stripes_hold_no_things() -> None:
    with pytest.raises(TypeError):
        words_for(Stripes(first="red", second="blue", direction="vertical"), set(), Random(1), inks=True)
