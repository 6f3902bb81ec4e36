"""What a file holds: read once, remembered as long as nothing about it changes, or said by the hub."""

import hashlib
import os

import pytest

from pixart_cli.core.paths import cache_dir
from pixart_cli.diffusion import digest
from pixart_cli.diffusion.digest import digests, promised


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def files(tmp_path):
    for name, data in (("a", b"first"), ("b", b"second")):
        (tmp_path / name).write_bytes(data)
    return [tmp_path / "a", tmp_path / "b"]


@pytest.fixture
def remembering(monkeypatch):
    """Files of any length and age are remembered; what this process knows is forgotten first."""
    monkeypatch.setattr(digest, "_LONG_BYTES", 0)
    monkeypatch.setattr(digest, "_SETTLED_NS", -(10**12))
    return digest._digests.cache_clear


def memory():
    return sorted((cache_dir() / "digests").glob("*"))


def test_every_digest_is_over_all_files_so_far(files):
    assert digests(files) == (sha(b"first"), sha(b"firstsecond"))
    assert digests(files[1:]) == (sha(b"second"),)


def test_a_changed_file_is_read_again(files):
    before = digests(files)
    files[1].write_bytes(b"sec0nd")
    os.utime(files[1], ns=(1, 1))
    assert digests(files) == (before[0], sha(b"firstsec0nd"))


def test_short_or_just_written_files_leave_nothing_behind(files, monkeypatch):
    digests(files)
    monkeypatch.setattr(digest, "_LONG_BYTES", 0)
    digest._digests.cache_clear()
    digests(files)
    assert memory() == []


def test_long_files_are_read_once_for_all_processes(files, remembering):
    found = digests(files)
    (place,) = memory()
    assert str(files[0]) not in place.read_text() + place.name
    # A memory that says otherwise shows that it is what is asked, and not the file.
    place.write_bytes(digest._sealed(place.name, ["0" * 64, "1" * 64]))
    remembering()
    assert digests(files) == ("0" * 64, "1" * 64)
    assert found == (sha(b"first"), sha(b"firstsecond"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"a", b"b"),
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"\xff\x00",
        lambda data: data + data,
    ],
)
def test_a_damaged_memory_is_none(files, remembering, spoil):
    found = digests(files)
    (place,) = memory()
    whole = place.read_bytes()
    place.write_bytes(spoil(whole))
    remembering()
    assert digests(files) == found
    assert place.read_bytes() == whole


def test_the_memory_of_other_files_is_not_taken(files, remembering):
    digests(files)
    digests(files[::-1])
    first, second = memory()
    second.write_bytes(first.read_bytes())
    remembering()
    assert digests(files) == (sha(b"first"), sha(b"firstsecond"))
    assert digests(files[::-1]) == (sha(b"second"), sha(b"secondfirst"))


def test_the_hub_names_blobs_by_what_they_hold(tmp_path):
    blob = tmp_path / "blobs" / sha(b"weights")
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link = tmp_path / "snapshots" / "model.safetensors"
    link.parent.mkdir()
    link.symlink_to(blob)
    said = promised(link)
    assert said is not None
    assert said.startswith(blob.name)
    os.utime(blob, ns=(5, 5))  # fetched again
    assert promised(link) != said
    short = blob.with_name("a" * 40)  # git's own, of small files
    short.write_bytes(b"config")
    assert promised(short) is None
    assert promised(tmp_path / "snapshots" / "model.safetensors").startswith(blob.name)
    (tmp_path / blob.name).write_bytes(b"elsewhere")
    assert promised(tmp_path / blob.name) is None
