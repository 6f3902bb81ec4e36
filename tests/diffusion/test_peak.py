"""Memory that work took is seen, and forgotten before the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixart_cli.diffusion import peak as module
from pixart_cli.diffusion.peak import peak_memory

MIB = 1 << 20


def fill(mebibytes: int) -> int:
    return int(np.ones(mebibytes * MIB, np.uint8).sum()) // MIB


@pytest.mark.parametrize("kernel", [True, False])
def test_the_peak_is_that_of_the_work(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.setattr(module, "_FORGET", Path("/nowhere/clear_refs"))
        monkeypatch.setattr(module, "_SECONDS", 0.001)
    with peak_memory("cpu") as much:
        assert fill(300) == 300
    with peak_memory("cpu") as little:
        assert fill(1) == 1
    assert (much.where, little.where) == ("process", "process")
    assert much.bytes - little.bytes > 200 * MIB
    assert little.bytes > 10 * MIB


def test_a_failure_is_measured_as_well() -> None:
    def fail() -> None:
        with peak_memory("cpu") as seen:
            found.append(seen)
            raise KeyError

    found: list[module.Peak] = []
    with pytest.raises(KeyError):
        fail()
    assert found[0].bytes > 10 * MIB
