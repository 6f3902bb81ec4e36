"""What a PNG says of itself."""

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pixart_cli.core.errors import PixartError
from pixart_cli.features.info import describe


def picture(path, **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    Image.new("RGB", (8, 6)).save(path, pnginfo=info, dpi=(150, 150))
    return path


def test_our_own_record_is_believed(pixart, tmp_path):
    pixart("gen", "a red sun", "-r", "64x48", "-s", 7, "-o", "x.png")
    found = describe(tmp_path / "x.png")
    assert (found.width, found.height, found.record.request.seed) == (64, 48, 7)
    assert (found.settings, found.parameters.splitlines()[0]) == (None, "a red sun")


def test_another_program_s_text_is_parsed_and_kept(tmp_path):
    text = "sun\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, Seed: 42"
    found = describe(picture(tmp_path / "x.png", parameters=text))
    assert (found.record, found.parameters, found.settings["seed"]) == (None, text, 42)
    assert round(found.dpi) == 150


@pytest.mark.parametrize(
    ("texts", "code"),
    [({}, "metadata-missing"), ({"Title": "x"}, "metadata-missing"), ({"pixart": "{}"}, "metadata-invalid")],
)
def test_pictures_without_a_word_or_with_a_false_one(tmp_path, texts, code):
    with pytest.raises(PixartError) as error:
        describe(picture(tmp_path / "x.png", **texts))
    assert error.value.code == code


def test_pixels_are_never_decoded(tmp_path):
    path = picture(tmp_path / "x.png", parameters="sun")
    data = path.read_bytes()
    where = data.index(b"IDAT")
    path.write_bytes(data[: where + 4] + bytes(len(data) - where - 4 - 12) + data[-12:])
    assert describe(path).parameters == "sun"
    with Image.open(path) as damaged, pytest.raises((OSError, SyntaxError)):
        damaged.load()
