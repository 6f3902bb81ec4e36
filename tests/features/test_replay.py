"""Drawn again from the record: how near, and what changed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import read_record
from pixart_cli.features import replay
from pixart_cli.features.replay import changed_facts, peak_signal_to_noise, read_pixels, verdict_of


@pytest.fixture
def drawn(pixart, tmp_path):
    """A picture to draw again."""
    assert pixart("gen", "a red sun", "-r", "64x48", "-s", 7, "-p", "flat", "-o", "x.png").code == 0
    return tmp_path / "x.png"


def again(path, renderer, **options):
    order, record = replay.order_of(path, **({"model": None, "device": "auto", "memory": "auto"} | options))
    return replay.replay(path, order, record, renderer=renderer, on_progress=lambda event: None)


def test_the_order_is_the_record(drawn):
    order, record = replay.order_of(drawn, model=None, device="cpu", memory="full")
    assert (order.jobs[0].request, order.jobs[0].preset) == (record.request, "flat")
    assert order.plan.device == "cpu"


def test_kv_compression_is_drawn_again_or_refused(pixart, stand_in, tmp_path):
    asked = ("--kv-compression", 8, "-m", "sigma-2k")
    assert pixart("gen", "sun", "-r", "64x48", "-o", "x.png", *asked).code == 0
    order, record = replay.order_of(tmp_path / "x.png", model=None, device="cpu", memory="full")
    assert order.jobs[0].request.kv_compression == record.request.kv_compression == "8"
    with pytest.raises(PixartError, match="mini cannot be drawn with kv_compression 8"):
        replay.order_of(tmp_path / "x.png", model="mini", device="cpu", memory="full")


def test_exact_close_and_different(drawn, stand_in):
    assert (again(drawn, stand_in).verdict, again(drawn, stand_in).psnr) == ("exact", math.inf)
    stand_in.shift = 1
    near = again(drawn, stand_in)
    assert (near.verdict, near.psnr > 40) in {("close", True), ("different", False)}
    stand_in.shift = 100
    assert again(drawn, stand_in).verdict == "different"


def test_facts_that_changed_are_named(drawn, stand_in):
    stand_in.facts |= {"torch": "9", "extra": {"deep": 1}}
    assert again(drawn, stand_in).changed == {"torch": ("0", "9"), "extra.deep": (None, 1)}


def test_what_is_kept_is_a_picture_with_a_record(drawn, stand_in, tmp_path):
    result = again(drawn, stand_in)
    replay.keep(result, tmp_path / "y.png", force=False)
    assert read_record(tmp_path / "y.png").output == read_record(drawn).output
    with pytest.raises(PixartError, match="exists"):
        replay.keep(result, tmp_path / "y.png", force=False)


def test_a_folder_that_is_not_there_is_told(drawn, tmp_path):
    with pytest.raises(PixartError) as error:
        replay.order_of(drawn, model=str(tmp_path / "nothing"), device="auto", memory="auto")
    assert error.value.code in {"model-unknown", "model-missing"}


def test_pixels_of_another_size_are_not_decoded(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "x.png")
    assert read_pixels(tmp_path / "x.png", (6, 8)) is None
    assert read_pixels(tmp_path / "x.png", (8, 6)).size == (8, 6)


def test_large_pictures_of_a_known_size_are_read_and_the_guard_stays(tmp_path, monkeypatch):
    Image.new("L", (40, 30)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_pixels(tmp_path / "x.png", (40, 30)).mode == "RGB"
    assert Image.MAX_IMAGE_PIXELS == 100


def test_damaged_pixels_are_told(tmp_path):
    path = tmp_path / "x.png"
    Image.effect_noise((64, 64), 50).save(path)
    data = bytearray(path.read_bytes())
    where = data.index(b"IDAT") + 40
    data[where : where + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(PixartError) as error:
        read_pixels(path, (64, 64))
    assert error.value.code == "image-invalid"


@given(st.integers(min_value=1, max_value=255))
def test_psnr_of_a_constant_error_is_its_definition(error):
    first, second = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (error, error, error))
    assert peak_signal_to_noise(first, second) == pytest.approx(20 * math.log10(255 / error))
    assert peak_signal_to_noise(second, second) == math.inf


@pytest.mark.parametrize(
    ("psnr", "verdict"), [(math.inf, "exact"), (40.0, "close"), (39.9, "different"), (None, "different")]
)
def test_verdicts(psnr, verdict):
    assert verdict_of(psnr) == verdict


def test_changed_facts_are_dotted_and_sorted():
    before, now = {"b": {"c": 1, "d": 2}, "a": 1}, {"b": {"c": 3, "d": 2}, "e": None, "a": 1}
    assert changed_facts(before, now) == {"b.c": (1, 3)}
    assert changed_facts({}, {}) == {}


def test_what_was_compiled_is_compiled_again(drawn, pixart, stand_in, tmp_path):
    assert not replay.order_of(drawn, model=None, device="cpu", memory="full")[0].plan.compiled
    stand_in.facts |= {"compiled": True}
    assert pixart("gen", "a red sun", "-r", "64x48", "-o", "z.png").code == 0
    assert replay.order_of(tmp_path / "z.png", model=None, device="cpu", memory="full")[0].plan.compiled


def test_another_network_is_guided_throughout(drawn):
    order, record = replay.order_of(drawn, model="sdxl", device="cpu", memory="full")
    assert (record.request.guidance_until, order.jobs[0].request.guidance_until) == (0.7, 1.0)
