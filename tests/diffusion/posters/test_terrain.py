"""Lands are known again, also where something stands before them."""

import numpy as np
import pytest

from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Group, Landscape, inks_against
from pixart_cli.diffusion.posters.seeing import to_lab
from pixart_cli.diffusion.posters.terrain import kind_of_land, softened, view
from pixart_cli.diffusion.posters.vocabulary import LANDS

pytestmark = pytest.mark.exemplars


def test_lands_are_recognised() -> None:
    right = 0
    for i, land in enumerate(LANDS * 3):
        sky = ("cream", "blue", "orange")[i % 3]
        scene = Landscape(sky=sky, land=land, land_colour=inks_against((sky,))[i % 5])
        right += kind_of_land(to_lab(draw(scene, 256, 256, seed=i))) == land
    assert right >= 0.8 * 3 * len(LANDS)


def houses(count: int, seed: int, land: str = "hills") -> Landscape:
    sky = ("cream", "blue", "orange")[seed % 3]
    standing = Group(kind="house", count=count, colour="purple")
    return Landscape(
        sky=sky, land=land, land_colour=inks_against((sky, "purple"))[seed % 3], standing=standing
    )


@pytest.mark.parametrize("land", ["hills", "mountains", "dunes", "forest"])
def test_lands_are_recognised_behind_a_row_of_houses(land: str) -> None:
    right = 0
    for seed in range(8):
        picture = draw(houses(4, seed, land), 336, 192, seed=seed)
        right += kind_of_land(to_lab(softened(picture, f"{seed}"))) == land
    assert right >= 6


def test_a_land_s_edge_goes_on_behind_a_house() -> None:
    bare, built = (
        view(to_lab(draw(scene, 256, 256, seed=3))) for scene in (houses(1, 3, "sea"), houses(2, 3, "sea"))
    )
    assert not built.seen.all()
    assert np.abs(built.edge - np.median(bare.edge)).max() < 0.03
    assert not built.land[int(0.8 * 256), ~built.seen].any()
