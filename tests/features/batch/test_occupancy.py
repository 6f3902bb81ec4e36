"""Who is in a folder."""

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.occupancy import occupied


def test_many_share_a_folder_and_one_may_want_it_alone(tmp_path):
    with occupied(tmp_path / "out", exclusive=False), occupied(tmp_path / "out", exclusive=False):
        with pytest.raises(PixartError) as caught, occupied(tmp_path / "out", exclusive=True):
            pass
        assert caught.value.exit_code == 10
    with occupied(tmp_path / "out", exclusive=True):
        with (
            pytest.raises(PixartError, match="asked to be alone"),
            occupied(tmp_path / "out", exclusive=False),
        ):
            pass
        with occupied(tmp_path / "other", exclusive=True):
            pass
    with occupied(tmp_path / "out", exclusive=True):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_for_no_folder_is_the_disks_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(PixartError) as caught, occupied(tmp_path / "out", exclusive=False):
        pass
    assert caught.value.code == "disk"
