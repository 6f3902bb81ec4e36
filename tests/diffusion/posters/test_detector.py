"""The detector: sees what is there in drawn pictures, and does not see it in others."""

import pytest

from pixart_cli.diffusion.posters.detector import detect
from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Group, Landscape, Shapes, Stripes
from pixart_cli.features.evaluate.captions import Captions
from pixart_cli.features.evaluate.run import ceiling_marks, floor_marks
from pixart_cli.features.evaluate.score import tally

pytestmark = pytest.mark.exemplars

LANDSCAPE = Landscape(
    sky="cream",
    land="mountains",
    land_colour="blue",
    celestial=Group(kind="sun", count=1, colour="red", place="right"),
)


def test_ceiling_and_floor_are_far_apart() -> None:
    suite = Captions()
    questions = suite.questions(24, seed=9)
    assert tally(ceiling_marks(suite, questions))["all"].rate > 0.95
    assert tally(floor_marks(suite, questions))["all"].rate < 0.45


def test_it_says_what_is_wrong() -> None:
    picture = draw(LANDSCAPE, 256, 256, seed=1)
    wrong = Landscape(
        sky="green",
        land="sea",
        land_colour="pink",
        celestial=Group(kind="moon", count=1, colour="black", place="left"),
    )
    asked = (
        "sky.colour",
        "land.kind",
        "land.colour",
        "celestial.kind",
        "celestial.colour",
        "celestial.place",
    )
    assert set(detect(picture, LANDSCAPE, asked).values()) == {True}
    assert set(detect(picture, wrong, asked).values()) == {False}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_it_counts(count: int) -> None:
    scene = Shapes(background="white", groups=(Group(kind="star", count=count, colour="purple"),))
    picture = draw(scene, 256, 256, seed=count)
    for claimed in (1, 2, 3, 4):
        claim = Shapes(background="white", groups=(Group(kind="star", count=claimed, colour="purple"),))
        assert detect(picture, claim, ["shape0.count"])["shape0.count"] == (claimed == count)


def test_it_binds_ink_to_kind_and_place() -> None:
    pair = (Group(kind="circle", count=1, colour="red"), Group(kind="square", count=1, colour="blue"))
    scene = Shapes(background="white", groups=pair, relation="left of")
    picture = draw(scene, 256, 256, seed=2)
    assert detect(picture, scene, ["relation"])["relation"]
    turned = Shapes(background="white", groups=pair, relation="right of")
    assert not detect(picture, turned, ["relation"])["relation"]
    swapped = Shapes(
        background="white",
        groups=(Group(kind="circle", count=1, colour="blue"), Group(kind="square", count=1, colour="red")),
        relation="right of",
    )
    found = detect(picture, swapped, ["shape0.colour", "shape1.colour", "relation"])
    assert set(found.values()) == {False}


def test_things_of_any_ink_are_found_where_no_ink_is_asked_and_a_large_ground_is_no_thing() -> None:
    pair = (Group(kind="circle", count=1, colour="red"), Group(kind="star", count=1, colour="blue"))
    picture = draw(Shapes(background="white", groups=pair, relation="left of"), 256, 256, seed=2)
    open_pair = tuple(Group(kind=group.kind, count=1, colour="") for group in pair)
    for relation in ("left of", "right of"):
        claim = Shapes(background="white", groups=open_pair, relation=relation)
        assert detect(picture, claim, ["relation"])["relation"] == (relation == "left of")
    square = Shapes(background="green", groups=(Group(kind="square", count=1, colour=""),))
    assert not detect(picture, square, ["shape0.kind"])["shape0.kind"]


@pytest.mark.parametrize("direction", ["vertical", "horizontal", "diagonal"])
def test_stripes(direction: str) -> None:
    scene = Stripes(first="red", second="white", direction=direction)
    asked = ("stripes.kind", "stripes.colours", "stripes.direction")
    assert set(detect(draw(scene, 192, 192, seed=3), scene, asked).values()) == {True}
    assert not detect(draw(LANDSCAPE, 192, 192, seed=3), scene, asked)["stripes.kind"]
