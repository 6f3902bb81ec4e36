"""Which place is a picture's own, and who was first."""

from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import fingerprint_in
from pixart_cli.features.batch.publishing import Kept, find, places, publish_picture
from pixart_cli.features.generate import png_of
from tests.conftest import StandIn
from tests.features.batch.conftest import entry


@pytest.fixture
def picture(resolver):
    def of(prompt: str) -> tuple[bytes, str]:
        (task,) = resolver.tasks(entry(prompt, seed=1), 0)
        (rendering,) = StandIn().render([task.request], on_progress=lambda event: None)
        return png_of(rendering, task.job, "full"), task.fingerprint

    return of


def test_the_second_place_depends_on_the_picture_alone():
    assert places(Path("/a/sun.png"), "0123456789" * 6) == (Path("/a/sun.png"), Path("/a/sun-01234567.png"))
    long = places(Path("/a") / ("漢" * 83 + ".png"), "f" * 64)[1]
    assert len(long.name.encode()) <= 255
    assert long.name.endswith("漢-ffffffff.png")


def test_whoever_is_first_has_the_name_and_the_second_the_other(picture, tmp_path):
    found = []
    for prompt in ("sun", "moon"):
        data, fingerprint = picture(prompt)
        found.append(publish_picture(data, places(tmp_path / "x.png", fingerprint), fingerprint))
        assert publish_picture(data, places(tmp_path / "x.png", fingerprint), fingerprint) == (
            found[-1][0],
            True,
        )
        assert find(places(tmp_path / "x.png", fingerprint), fingerprint) == Kept(found[-1][0])
        assert fingerprint_in(found[-1][0]) == fingerprint
    assert found[0] == (tmp_path / "x.png", False)
    assert found[1][0].name.startswith("x-")


def test_a_picture_in_its_second_place_is_found_when_the_first_is_free_again(picture, tmp_path):
    for prompt in ("sun", "moon"):
        data, fingerprint = picture(prompt)
        path, _ = publish_picture(data, places(tmp_path / "x.png", fingerprint), fingerprint)
    (tmp_path / "x.png").unlink()
    assert find(places(tmp_path / "x.png", fingerprint), fingerprint) == Kept(path)


def test_both_places_taken_by_others_is_an_error(picture, tmp_path):
    data, fingerprint = picture("sun")
    both = places(tmp_path / "x.png", fingerprint)
    for path in both:
        path.write_bytes(b"mine")
    with pytest.raises(PixartError, match="exists already"):
        publish_picture(data, both, fingerprint)
    assert find(both, fingerprint) is None
    assert find(both, fingerprint, by_name=True) == Kept(both[0])
