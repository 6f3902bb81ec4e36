"""A folder that may be thrown away: bounded, private, safe with others, and never a failure."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pixart_cli.core.disk_cache import Contents, DiskCache
from tests.processes import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache" / "kept", 100, ".bin")


def names(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_what_was_written_is_read(cache):
    assert cache.read("a") is None
    assert cache.write("a", b"one")
    assert cache.write("a", b"two")
    assert cache.read("a") == b"two"
    assert names(cache) == ["a.bin"]
    assert cache.contents() == Contents(1, 3)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_nobody_else_may_look(cache):
    cache.write("a", b"one")
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((cache.folder / "a.bin").stat().st_mode) == 0o600
    cache.folder.chmod(0o755)
    cache.write("b", b"two")
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_the_least_recently_used_go_first(cache):
    for age, name in enumerate("abc"):
        cache.write(name, b"x" * 30)
        os.utime(cache.folder / f"{name}.bin", ns=(age, age))
    assert cache.read("a") is not None
    cache.write("d", b"x" * 30)
    assert names(cache) == ["a.bin", "c.bin", "d.bin"]
    assert cache.contents().size_bytes <= cache.limit_bytes
    cache.write("e", b"x" * 100)
    assert names(cache) == ["e.bin"]


def test_what_is_larger_than_the_whole_is_not_kept(cache):
    cache.write("a", b"x" * 30)
    assert not cache.write("b", b"x" * 101)
    assert names(cache) == ["a.bin"]
    (cache.folder / "c.bin").write_bytes(b"x" * 101)
    assert cache.read("c") is None


def test_clearing_removes_entries_and_what_killed_writers_left(cache):
    for name in "abc":
        cache.write(name, b"1234")
    (cache.folder / ".pixart-x.part").write_bytes(b"half")
    (cache.folder / "not-ours.txt").write_text("stays")
    assert cache.clear() == Contents(3, 12)
    assert names(cache) == ["not-ours.txt"]
    assert cache.clear() == cache.contents() == Contents(0, 0)


def test_what_a_killed_writer_left_goes_an_hour_later(cache):
    cache.write("a", b"1234")
    part, hour = cache.folder / ".pixart-x.part", 3600 * 10**9
    now = (cache.folder / "a.bin").stat().st_mtime_ns
    part.write_bytes(b"half")
    os.utime(part, ns=(now, now))
    cache.write("b", b"1234")
    assert part.exists()
    os.utime(part, ns=(now - hour - 10, now - hour - 10))
    cache.write("c", b"1234")
    assert not part.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_what_is_no_file_is_a_miss_and_not_waited_for(cache):
    cache.write("a", b"1234")
    os.mkfifo(cache.folder / "pipe.bin")
    (cache.folder / "folder.bin").mkdir()
    (cache.folder / "link.bin").symlink_to(cache.folder / "gone")
    assert [cache.read(name) for name in ("pipe", "folder", "link")] == [None, None, None]
    assert cache.contents() == Contents(1, 4)


def test_a_place_where_no_folder_can_be_is_a_miss(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = DiskCache(folder, 100)
        assert (cache.write("a", b"1"), cache.read("a"), cache.contents().entries) == (False, None, 0)
        assert cache.clear() == Contents(0, 0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_may_only_be_read_still_gives_what_it_has(tmp_path):
    """In a process that is not root, for whom there is no such folder."""
    folder = tmp_path / "kept"
    DiskCache(folder, 100).write("a", b"1234")
    tmp_path.chmod(0o711)
    for path in (folder / "a", folder):
        path.chmod(0o500 if path == folder else 0o400)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    code = f"""
        import os
        from pathlib import Path
        from pixart_cli.core.disk_cache import DiskCache
        os.chdir({str(tmp_path)!r})
        if os.geteuid() == 0:
            os.setegid({NOBODY}), os.seteuid({NOBODY})
        cache = DiskCache(Path("kept"), 100)
        print(cache.read("a"), cache.write("b", b"1"), cache.contents().entries)
        try:
            cache.clear()
        except PermissionError:
            print("refused")
    """
    try:
        assert child(code).split("\n") == ["b'1234' False 1", "refused"]
    finally:
        folder.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_is_a_miss_that_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk's end: a write beyond it fails half-way."""
    code = f"""
        import resource, signal
        from pathlib import Path
        from pixart_cli.core.disk_cache import DiskCache
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        cache = DiskCache(Path({str(tmp_path)!r}), 1_000_000)
        print(cache.write("a", b"x" * 100_000), cache.write("b", b"x" * 1000), cache.read("a"))
    """
    assert child(code) == "False True None"
    assert os.listdir(tmp_path) == ["b"]


def test_two_processes_at_once_never_see_half_an_entry(tmp_path):
    code = f"""
        import os, sys
        from pathlib import Path
        from pixart_cli.core.disk_cache import DiskCache
        cache = DiskCache(Path({str(tmp_path)!r}), 60_000)
        whole = {{bytes([n]) * 10_000 for n in range(256)}}
        for n in range(150):
            cache.write(str(n % 7), bytes([os.getpid() % 200 + n % 50]) * 10_000)
            for name in range(7):
                data = cache.read(str(name))
                assert data is None or data in whole
            if n % 50 == 25:
                cache.clear()
        print("whole")
    """
    processes = [start(code) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [out.strip() for out, _ in said] == ["whole", "whole"], said
    left = DiskCache(tmp_path, 60_000)
    assert left.contents().size_bytes <= 60_000
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def child(code):
    out, err = start(code).communicate(timeout=PATIENCE)
    assert not err
    return out.strip()


def test_without_a_limit_everything_stays(tmp_path):
    unbounded = DiskCache(tmp_path, None, ".bin")
    for index in range(20):
        assert unbounded.write(str(index), bytes(1000))
    assert unbounded.contents() == Contents(20, 20_000)
    assert unbounded.read("0") == bytes(1000)
    assert "0" in unbounded
    assert "x" not in unbounded
