"""Arrays in files: made a few rows at a time, never twice."""

from pathlib import Path

import numpy as np
import pytest

from pixart_cli.features.train import store
from pixart_cli.features.train.store import stored


def test_a_stopped_store_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ROUNDS_PER_SAVE", 1)
    asked: list[range] = []

    def make(rows: range) -> np.ndarray:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(rows)
        return np.array(rows)[:, None]

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path / "a.npy", (7, 1), make, at_once=2)
    assert asked == [range(2), range(2, 4)]
    asked.clear()
    whole = stored(tmp_path / "a.npy", (7, 1), make, at_once=2)
    assert asked == [range(4, 6), range(6, 7)]
    assert whole[:, 0].tolist() == list(range(7))
