"""Maps filled, read, moved and released by rows, in every tier."""

import pytest
import torch

from pixart_cli.diffusion.bands import Rows
from pixart_cli.diffusion.spill import Place
from tests.feature_maps import fill

CPU = torch.device("cpu")


@pytest.fixture(params=["device", "pinned", "mapped"])
def place(request, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return Place(CPU, torch.float32, request.param)


def poured(rows):
    result = torch.empty(1, rows.channels, rows.height, rows.width)
    rows.pour(result)
    return result


def test_rows_are_read_across_bands(place, picture):
    rows = fill(Rows(place, 10, 4, 3), picture, 4, 5, 1)
    assert rows.filled == 10
    for start, stop in ((0, 10), (3, 5), (4, 9), (9, 10), (0, 1)):
        assert torch.equal(rows.read(start, stop), picture[:, :, start:stop])
    assert torch.equal(poured(rows), picture)


def test_released_rows_are_gone_and_the_rest_is_not(place, picture):
    rows = fill(Rows(place, 10, 4, 3), picture, 4, 5, 1)
    rows.release(8)
    assert torch.equal(rows.read(4, 10), picture[:, :, 4:])
    with pytest.raises(RuntimeError, match="released"):
        rows.read(3, 5)
    mean, _ = rows.moments.of_groups(1)
    assert mean.item() == pytest.approx(picture.double().mean().item(), abs=1e-6)


def test_cut_undoes_what_was_put(place, picture):
    rows = fill(Rows(place, 10, 4, 3), picture, 4, 5, 1)
    rows.cut(4)
    assert (rows.filled, len(rows.moments)) == (4, 1)
    rows.put(picture[:, :, 4:])
    assert torch.equal(poured(rows), picture)


def test_a_map_moves_with_its_place(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = Place(CPU, torch.float32, "device")
    rows = fill(Rows(place, 10, 4, 3), picture[:, :, :9], 4, 5)
    rows.release(4)
    place.tier = "mapped"
    rows.put(picture[:, :, 9:])
    assert torch.equal(rows.read(4, 10), picture[:, :, 4:])
    rows.move()
    assert torch.equal(rows.read(4, 10), picture[:, :, 4:])
    with pytest.raises(RuntimeError, match="released"):
        rows.read(0, 1)
