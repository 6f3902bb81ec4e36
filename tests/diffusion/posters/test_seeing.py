"""Seeing: Lab, inks, connected pieces and skylines of pictures whose truth is known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pixart_cli.diffusion.posters.palette import lab
from pixart_cli.diffusion.posters.seeing import INKS, ink_map, ink_of_region, outline, pieces, skyline, to_lab
from pixart_cli.diffusion.posters.vocabulary import COLOURS


def picture(ground: str, boxes: dict[tuple[int, int, int, int], str]) -> Image.Image:
    image = Image.new("RGB", (90, 60), COLOURS[ground])
    draw = ImageDraw.Draw(image)
    for box, ink in boxes.items():
        draw.rectangle(box, fill=COLOURS[ink])
    return image


@pytest.mark.parametrize("name", COLOURS)
def test_lab_and_names_agree_with_the_palette(name: str) -> None:
    pixels = to_lab(picture(name, {}))
    assert pixels[3, 4].tolist() == pytest.approx(lab(COLOURS[name]), abs=0.01)
    assert INKS[int(ink_map(pixels)[0, 0])] == name
    assert ink_of_region(pixels) == name


def test_pieces_are_connected_and_located() -> None:
    boxes = {(10, 10, 29, 29): "red", (60, 10, 79, 29): "red", (40, 40, 49, 49): "blue"}
    found = [p for p in pieces(to_lab(picture("white", boxes))) if p.ink != "white"]
    assert sorted((p.ink, round(p.area, 3), round(p.x, 2), round(p.y, 2)) for p in found) == [
        ("blue", 0.028, 0.5, 0.75),
        ("red", 0.111, 0.22, 0.33),
        ("red", 0.111, 0.78, 0.33),
    ]


def test_a_ring_is_one_piece_and_its_hole_another() -> None:
    image = picture("white", {(20, 10, 69, 49): "black", (35, 20, 54, 39): "white"})
    assert sorted(p.ink for p in pieces(to_lab(image))) == ["black", "white", "white"]


def test_branches_that_meet_below_are_one_piece() -> None:
    image = picture(
        "white", {(10, 10, 19, 49): "green", (40, 10, 49, 49): "green", (10, 45, 49, 49): "green"}
    )
    assert [p.ink for p in pieces(to_lab(image))].count("green") == 1


def test_specks_are_no_pieces() -> None:
    assert len(pieces(to_lab(picture("white", {(5, 5, 7, 7): "red"})))) == 1


def test_outline_of_a_bar_is_centred() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 18:22] = True
    drawn = outline(mask)
    assert drawn.shape == (16, 16)
    assert drawn[:, :4].sum() == 0
    assert drawn.sum() == pytest.approx(16 * 16 * 0.2, rel=0.1)


def test_an_outline_is_that_of_a_thing_without_its_splinters() -> None:
    mask = np.zeros((90, 90), dtype=bool)
    mask[20:80, 20:80] = True
    square = outline(mask)
    mask[10:20, 77:80] = True
    assert np.abs(outline(mask) - square).mean() < 0.02
    assert outline(mask).mean() > 0.97


def test_skyline_of_steps() -> None:
    image = picture("cream", {(0, 30, 44, 59): "navy", (45, 45, 89, 59): "navy"})
    line = skyline(to_lab(image))
    assert line[:44].tolist() == pytest.approx([0.5] * 44, abs=0.02)
    assert line[46:].tolist() == pytest.approx([0.75] * 44, abs=0.02)
