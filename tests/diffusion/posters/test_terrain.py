"""Lands are known again, also where something stands before them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Group, Landscape, inks_against
from pixart_cli.diffusion.posters.seeing import small_pieces, to_lab
from pixart_cli.diffusion.posters.terrain import View, kind_of_land, softened, view_of
from pixart_cli.diffusion.posters.vocabulary import LANDS

pytestmark = pytest.mark.exemplars


def recognised(picture: Image.Image) -> str:
    pixels = to_lab(picture)
    return kind_of_land(pixels, small_pieces(pixels))


def test_lands_are_recognised() -> None:
    right = 0
    for i, land in enumerate(LANDS * 3):
        sky = ("cream", "blue", "orange")[i % 3]
        scene = Landscape(sky=sky, land=land, land_colour=inks_against((sky,))[i % 5])
        right += recognised(draw(scene, 256, 256, seed=i)) == land
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
        right += recognised(softened(picture, f"{seed}")) == land
    assert right >= 6


def test_a_land_s_edge_goes_on_behind_a_house() -> None:
    def seen(scene: Landscape) -> View:
        pixels = to_lab(draw(scene, 256, 256, seed=3))
        return view_of(pixels, small_pieces(pixels))

    built = seen(houses(2, 3, "sea"))
    bare = seen(dataclasses.replace(houses(2, 3, "sea"), standing=None))
    assert not built.seen.all()
    assert np.abs(built.edge - np.median(bare.edge)).max() < 0.03
    assert not built.land[int(0.8 * 256), ~built.seen].any()
