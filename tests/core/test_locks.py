"""Locks on descriptors: one at a time, of files and of folders, gone when closed."""

import os
from pathlib import Path

import pytest

from pixart_cli.core.locks import take


@pytest.mark.skipif(os.name != "posix", reason="there are no such locks")
@pytest.mark.parametrize("name", ["", "file"])
def test_one_descriptor_has_it_until_it_is_closed(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    first, second = (os.open(tmp_path / name, os.O_RDONLY) for _ in range(2))
    assert (take(first), take(second)) == (True, False)
    os.close(first)
    assert take(second)
    os.close(second)
