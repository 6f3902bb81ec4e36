"""What is kept of prompts: counted, bounded, and removed."""

import pytest

from pixart_cli.core.disk_cache import Contents, DiskCache
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import cache_dir
from pixart_cli.diffusion.embeds import kept
from pixart_cli.features.cache import look


def fill(count):
    for number in range(count):
        kept(1000).write(str(number), b"12345")


def test_an_empty_cache_is_no_folder_and_stays_none():
    found = look(1000)
    assert (found.contents, found.limit_bytes) == (Contents(0, 0), 1000)
    assert found.folder == cache_dir() / "embeds"
    assert look(1000, clear=True).removed == Contents(0, 0)
    assert not cache_dir().exists()


def test_clearing_says_what_is_gone():
    fill(3)
    assert look(1000).contents == Contents(3, 15)
    found = look(1000, clear=True)
    assert (found.removed, found.contents) == (Contents(3, 15), Contents(0, 0))


def test_what_cannot_be_removed_is_told(monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    fill(1)
    monkeypatch.setattr(DiskCache, "clear", refuse)
    with pytest.raises(PixartError, match="permission denied") as caught:
        look(1000, clear=True)
    assert caught.value.code == "disk"
