"""The sheet of all pictures."""

from PIL import Image

from pixart_cli.features.evaluate.sheet import rows_of_pictures, write_sheet

INKS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_the_sheet_holds_every_picture(tmp_path) -> None:
    pictures = [Image.new("RGB", (40, 20), ink) for ink in INKS]
    sheet = rows_of_pictures(pictures, columns=2, cell=20)
    assert sheet.size == (58, 58)
    assert {sheet.getpixel((16, 16)), sheet.getpixel((42, 16)), sheet.getpixel((16, 42))} == set(INKS)
    write_sheet(pictures, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] > 192
