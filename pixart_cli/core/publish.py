"""A file or a folder appears under its final name whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.unfinished import SUFFIX, held, prefix

Writer = Callable[[BinaryIO], object]

_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_HINTS: Final = {
    errno.ENOSPC: "Free some space there, or choose another folder with --output.",
    errno.EDQUOT: "Your quota there is used up: free some space, or choose another folder with --output.",
    errno.EACCES: "Choose a folder you may write to with --output.",
    errno.EPERM: "Choose a folder you may write to with --output.",
    errno.EROFS: "Choose a folder that is not read-only with --output.",
    errno.ENAMETOOLONG: "Choose a shorter name with --output, as '{slug:40}-{seed}.png'.",
    errno.ENOTDIR: "A file stands where a folder is needed: choose another folder with --output.",
    errno.EEXIST: "A file stands where a folder is needed: choose another folder with --output.",
    errno.EIO: "The disk reports an error: choose another one, and check this one.",
}
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100


def publish(data: bytes | Writer, path: Path, *, force: bool = False) -> None:
    """Write `data`, or what the callback writes, to `path`, atomically and flushed to the disk.

    The bytes go to ``.pixart-*.part`` in the same folder first (made if it is missing), so nobody ever sees
    half a file. Never writes through a symbolic link. Without `force` an existing `path` is left alone, also
    when it appears meanwhile.

    Raises:
        PixartError: "output-exists", "output-invalid" as :func:`refuse_place`, or "disk" for any OSError.
    """
    refuse_place(path)
    with _as_disk_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix(), suffix=SUFFIX, dir=path.parent)
        temporary = Path(name)
        try:
            with held(temporary):
                _write(handle, data)
                _name(temporary, path, force=force)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(path.parent)


def refuse_place(path: Path) -> None:
    """Raise "output-invalid" if `path` is a folder, a device or a pipe: a file would take its place."""
    if os.path.isdir(path) and not os.path.islink(path):
        hint = "Name a file, or end the folder with '/'."
        raise PixartError("output-invalid", f"{path} is a folder", hint)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        hint = "Name a file; '-' is standard output."
        raise PixartError("output-invalid", f"{path} is a device or a pipe", hint)


def publish_folder(path: Path, fill: Callable[[Path], object], *, marker: str, force: bool = False) -> None:
    """Let `fill` write into a new folder, then name it `path`, atomically and flushed to the disk.

    It grows as ``.pixart-*.part`` beside `path`; whatever happens, no half folder and no new parent stays.
    With `force` the folder `path` is replaced if it is empty or holds the file `marker`.

    Raises:
        PixartError: as :func:`refuse_folder`, "output-exists" also when it appears meanwhile; "disk" for any
            OSError; whatever `fill` raises.
    """
    refuse_folder(path, marker=marker, force=force)
    with _as_disk_error(path, "--out"):
        made = [folder for folder in path.parents if not os.path.lexists(folder)]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            name = tempfile.mkdtemp(prefix=prefix(), suffix=SUFFIX, dir=path.parent)
            temporary = Path(name)
            try:
                with held(temporary):
                    fill(temporary)
                    _finish_tree(temporary)
                    _name_folder(temporary, path, force=force)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except BaseException:
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
            raise
        _flush_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Try to write in `folder`, or where it will be made. It is not made here, and nothing is left behind.

    Raises:
        PixartError: "disk" naming the folder and the reason.
    """
    try:
        there = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
        with tempfile.TemporaryFile(prefix=prefix(), suffix=SUFFIX, dir=there):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _HINTS[errno.EACCES]
        raise PixartError("disk", f"cannot write to {folder}: {reason}", hint) from error


def refuse_folder(path: Path, *, marker: str, force: bool) -> None:
    """Raise where no folder called `path` may be made.

    Raises:
        PixartError: "output-exists" for anything that is there; with `force` "output-invalid" for what is no
            folder, or one that is neither empty nor holds the file `marker`.
    """
    if not os.path.lexists(path):
        return
    if not force:
        raise _folder_exists(path)
    if not os.path.isdir(path):
        raise PixartError("output-invalid", f"{path} is no folder", "Name a folder with --out.")
    if os.listdir(path) and not os.path.lexists(path / marker):
        what = f"{path} holds other things than a model, and is not replaced"
        raise PixartError("output-invalid", what, "Name another folder with --out.")


def link_folder(source: Path, place: Path) -> None:
    """Let `place` be a link to the folder `source`, or a copy of it where the disk has no links.

    Raises:
        OSError: what the disk says.
    """
    try:
        place.symlink_to(source.resolve(), target_is_directory=True)
    except OSError as error:
        if error.errno not in (*_NO_LINKS, errno.EACCES) and os.name != "nt":
            raise
        shutil.copytree(source, place)


def _folder_exists(path: Path) -> PixartError:
    hint = "Choose another folder with --out, or replace it with --force."
    return PixartError("output-exists", f"{path} exists already", hint)


def _finish_tree(folder: Path) -> None:
    """Every file and folder below to the disk, with the usual rights: safetensors writes for its owner."""
    mask = _umask()
    for root, _, files in os.walk(folder):
        for path in (Path(root) / name for name in files):
            if not path.is_symlink():
                path.chmod(0o666 & ~mask)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        os.chmod(root, 0o777 & ~mask)
        _flush_folder(Path(root))


def _name_folder(temporary: Path, path: Path, *, force: bool) -> None:
    """Give the whole folder its final name; what was there with `force` is removed, links not followed."""
    linux = sys.platform == "linux"
    if force and os.path.lexists(path):
        if not (linux and _renameat2(temporary, path, _RENAME_EXCHANGE)):
            _exchange(temporary, path)
        if temporary.is_symlink():
            temporary.unlink()
        return
    try:
        if linux and _renameat2(temporary, path):
            return
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(temporary, path)
    except FileExistsError:
        raise _folder_exists(path) from None


def _exchange(temporary: Path, path: Path) -> None:
    """Let two folders change names where the system cannot do it in one step."""
    aside = temporary.with_suffix(".old")
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    os.rename(aside, temporary)


@contextmanager
def _as_disk_error(path: Path, option: str = "--output") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _HINTS.get(error.errno or 0, "Choose another folder with --output.")
        hint = hint.replace("--output", option)
        raise PixartError("disk", f"cannot write {path}: {reason}", hint) from error


def _write(handle: int, data: bytes | Writer) -> None:
    with os.fdopen(handle, "wb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            data(file)
        file.flush()
        if hasattr(os, "fchmod"):  # mkstemp's 0600 would surprise people who share a folder
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.fsync(file.fileno())


def _umask() -> int:
    """The process's file mode mask. To set it, even for a moment, would be seen by files of other threads."""
    with suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _name(temporary: Path, path: Path, *, force: bool) -> None:
    """Give the whole file its final name; `temporary` may or may not remain."""
    if force:
        os.replace(temporary, path)
        return
    try:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename_no_replace(temporary, path)
    except FileExistsError:
        hint = "Choose another name with --output, or overwrite it with --force."
        raise PixartError("output-exists", f"{path} exists already", hint) from None


def _rename_no_replace(temporary: Path, path: Path) -> None:
    """Rename where hard links do not exist (FAT, some FUSE), still without overwriting."""
    if os.name == "nt":
        os.rename(temporary, path)  # on Windows this fails if `path` exists
        return
    if sys.platform == "linux" and _renameat2(temporary, path):
        return
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.replace(temporary, path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _renameat2(temporary: Path, path: Path, flag: int = _RENAME_NOREPLACE) -> bool:
    """Whether Linux's renameat2 did it, by default without replacing; False where it does not exist.

    Raises:
        OSError: when it exists and fails, FileExistsError among them.
    """
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(path))


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power loss, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot flush a folder
            raise
    finally:
        os.close(handle)
