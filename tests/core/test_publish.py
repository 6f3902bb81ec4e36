"""Whole or not at all: publishing, refusing, failing."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.publish import link_folder, publish, publish_folder

DATA = b"\x89PNG" + bytes(range(256)) * 64


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(number: int) -> Any:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("force", [False, True])
def test_bytes_appear_whole_and_alone(tmp_path: Path, force: bool) -> None:
    publish(DATA, tmp_path / "a.png", force=force)
    assert (tmp_path / "a.png").read_bytes() == DATA
    assert names(tmp_path) == ["a.png"]


def test_a_callback_writes_too(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(DATA)
        file.write(DATA)

    publish(write, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == DATA + DATA


def test_missing_folders_are_made(tmp_path: Path) -> None:
    publish(DATA, tmp_path / "x" / "y" / "a.png")
    assert names(tmp_path / "x" / "y") == ["a.png"]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        publish(DATA, tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_an_existing_file_is_left_alone_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(PixartError, match="exists already") as caught:
        publish(DATA, path)
    assert caught.value.code == "output-exists"
    assert (path.read_bytes(), names(tmp_path)) == (b"mine", ["a.png"])
    publish(DATA, path, force=True)
    assert (path.read_bytes(), names(tmp_path)) == (DATA, ["a.png"])


@pytest.mark.parametrize("target_exists", [False, True])
def test_nothing_is_written_through_a_link(tmp_path: Path, target_exists: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "a.png"
    if target_exists:
        target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(PixartError) as caught:
        publish(DATA, link)
    assert caught.value.code == "output-exists"
    assert target.exists() == target_exists
    publish(DATA, link, force=True)
    assert not link.is_symlink()
    assert link.read_bytes() == DATA
    assert not target_exists or target.read_bytes() == b"precious"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_not_a_place_for_a_file(tmp_path: Path, force: bool) -> None:
    with pytest.raises(PixartError, match="is a folder") as caught:
        publish(DATA, tmp_path, force=force)
    assert caught.value.code == "output-invalid"


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(DATA)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(write, tmp_path / "a.png")
    assert names(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "fchmod", "link", "fdopen"])
@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.ENOSPC, "no space left", "Free some space"),
        (errno.EROFS, "read-only", "not read-only"),
        (errno.EIO, "input/output error", "The disk reports an error"),
        (errno.EACCES, "permission denied", "you may write to"),
        (errno.ESTALE, "stale", "Choose another folder"),
    ],
)
def test_every_fault_names_path_and_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, words: str, hint: str
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(PixartError) as caught:
        publish(DATA, tmp_path / "a.png")
    assert caught.value.code == "disk"
    assert str(tmp_path / "a.png") in caught.value.message
    assert words in caught.value.message
    assert hint in caught.value.hint
    assert names(tmp_path) == []


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(PixartError) as caught:
        publish(DATA, tmp_path / "out" / "a.png")
    assert (caught.value.code, caught.value.exit_code) == ("disk", 9)
    assert "A file stands where a folder is needed" in caught.value.hint


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(PixartError) as caught:
        publish(DATA, tmp_path / ("x" * 300 + ".png"))
    assert caught.value.code == "disk"
    assert "shorter name" in caught.value.hint


@pytest.mark.parametrize("renameat2", [True, False])
def test_without_hard_links_it_still_works_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renameat2: bool
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    if not renameat2:
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    publish(DATA, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == DATA
    with pytest.raises(PixartError) as caught:
        publish(b"other", tmp_path / "a.png")
    assert caught.value.code == "output-exists"
    assert (tmp_path / "a.png").read_bytes() == DATA
    assert names(tmp_path) == ["a.png"]


def test_a_placeholder_does_not_stay_when_the_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(PixartError):
        publish(DATA, tmp_path / "a.png")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_flushed_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "invalid")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(DATA, tmp_path / "a.png")
    assert names(tmp_path) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and RLIMIT_FSIZE are Linux's")
def test_a_file_size_limit_is_a_disk_error_and_not_a_traceback(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from pixart_cli.core.publish import publish\n"
        "from pixart_cli.core.errors import PixartError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: publish(b'x' * 5000, Path(sys.argv[1]))\n"
        "except PixartError as error: sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=False)
    assert (done.returncode, names(tmp_path)) == (9, [])


def test_many_writers_of_one_name_leave_exactly_one_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pixart_cli.core.publish import publish\n"
        "from pixart_cli.core.errors import PixartError\n"
        "try: publish(sys.argv[2].encode() * 100_000, Path(sys.argv[1]))\n"
        "except PixartError as error: sys.exit(error.code)\n"
    )
    path = str(tmp_path / "a.png")
    children = [
        subprocess.Popen([sys.executable, "-c", code, path, letter], stderr=subprocess.DEVNULL)
        for letter in "abcd"
    ]
    assert sorted(child.wait() for child in children) == [0, 1, 1, 1]
    content = (tmp_path / "a.png").read_bytes()
    assert (len(content), len(set(content)), names(tmp_path)) == (100_000, 1, ["a.png"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
@pytest.mark.parametrize("force", [False, True])
def test_a_pipe_or_device_is_not_replaced(tmp_path: Path, force: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(PixartError, match="is a device or a pipe") as caught:
            publish(DATA, tmp_path / name, force=force)
        assert caught.value.code == "output-invalid"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a").write_bytes(DATA)
    (folder / "deep" / "a").chmod(0o600)
    (folder / "index.json").write_text("{}")
    (folder / "link").symlink_to(folder.parent / "elsewhere")


def test_a_folder_appears_whole_and_alone(tmp_path: Path) -> None:
    publish_folder(tmp_path / "x" / "model", fill, marker="index.json")
    assert names(tmp_path / "x") == ["model"]
    assert names(tmp_path / "x" / "model") == ["deep", "index.json", "link"]
    assert (tmp_path / "x" / "model" / "deep" / "a").read_bytes() == DATA
    (tmp_path / "plain").mkdir()
    (tmp_path / "file").touch()
    for name, usual in (("", "plain"), ("deep", "plain"), ("deep/a", "file")):
        assert (tmp_path / "x" / "model" / name).stat().st_mode == (tmp_path / usual).stat().st_mode


@pytest.mark.parametrize("renameat2", [True, False])
@pytest.mark.parametrize("kind", ["folder", "link", "empty"])
def test_a_folder_is_replaced_only_with_force_and_by_its_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renameat2: bool, kind: str
) -> None:
    if not renameat2:
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    path, before = tmp_path / "model", {"model"}
    if kind == "link":
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / "real")
        before |= {"real"}
    else:
        path.mkdir()
    if kind != "empty":
        (path / "precious").write_bytes(DATA)
    with pytest.raises(PixartError) as caught:
        publish_folder(path, fill, marker="index.json")
    assert caught.value.code == "output-exists"
    if kind != "empty":
        with pytest.raises(PixartError, match="holds other things") as caught:
            publish_folder(path, fill, marker="index.json", force=True)
        assert caught.value.code == "output-invalid"
        (path / "index.json").write_text("{}")
    publish_folder(path, fill, marker="index.json", force=True)
    assert not path.is_symlink()
    assert names(path) == ["deep", "index.json", "link"]
    assert set(names(tmp_path)) == before
    assert kind != "link" or (tmp_path / "real" / "precious").read_bytes() == DATA


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"mine")
    with pytest.raises(PixartError, match="is no folder") as caught:
        publish_folder(tmp_path / "model", fill, marker="index.json", force=True)
    assert (caught.value.code, (tmp_path / "model").read_bytes()) == ("output-invalid", b"mine")


@pytest.mark.parametrize("renameat2", [True, False])
def test_a_folder_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renameat2: bool
) -> None:
    if not renameat2:
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())

    def race(folder: Path) -> None:
        fill(folder)
        (tmp_path / "model").mkdir()

    with pytest.raises(PixartError) as caught:
        publish_folder(tmp_path / "model", race, marker="index.json")
    assert (caught.value.code, names(tmp_path)) == ("output-exists", ["model"])
    assert names(tmp_path / "model") == []


@pytest.mark.parametrize("call", ["fsync", "rename", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_fault_while_a_folder_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(PixartError) as caught:
        publish_folder(tmp_path / "x" / "y" / "model", fill, marker="index.json")
    assert (caught.value.code, names(tmp_path)) == ("disk", [])
    assert "--output" not in caught.value.hint


def test_the_old_folder_stays_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    publish_folder(tmp_path / "model", fill, marker="index.json")
    (tmp_path / "model" / "mine").write_bytes(DATA)
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source).suffix == ".part":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(PixartError):
        publish_folder(tmp_path / "model", fill, marker="index.json", force=True)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "mine").read_bytes() == DATA


def test_a_folder_is_linked_or_where_there_are_no_links_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("text")
    link_folder(tmp_path / "source", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()

    def no_links(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    link_folder(tmp_path / "source", tmp_path / "copy")
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy" / "a").read_text() == "text"
