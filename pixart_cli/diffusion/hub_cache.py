"""The Hugging Face cache on disk, shared with every other tool: where files lie, and how they leave it.

Layout (huggingface_hub's): ``models--ORG--NAME/`` holds ``blobs/HASH``; ``snapshots/COMMIT/PATH``, a link to
a blob, or where links cannot be made the file itself; and ``refs/main``, the commit of that branch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import expand_home
from pixart_cli.core.publish import publish

_PATIENCE: Final = 0.2  # seconds before a person is told that another process is at work


def hub_cache() -> Path:
    """The cache's folder, by the rules of huggingface_hub (which fixes its own at import)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return expand_home(os.environ[name])
    if os.environ.get("HF_HOME"):
        return expand_home(os.environ["HF_HOME"]) / "hub"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_home(home) / "huggingface" / "hub"


def repo_folder(repo: str) -> Path:
    """The folder of the repository ``ORG/NAME``; it need not exist."""
    return hub_cache() / ("models--" + repo.replace("/", "--"))


def snapshot(repo: str, commit: str) -> Path:
    """The folder of `repo` as it is at `commit`; it need not exist."""
    return repo_folder(repo) / "snapshots" / commit


def snapshots(repo: str) -> list[Path]:
    """Snapshots of `repo`: the one `main` points at first, then the newest."""
    base = repo_folder(repo)
    try:
        main = (base / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        main = ""
    try:
        folders = [path for path in (base / "snapshots").iterdir() if path.is_dir()]
        return sorted(folders, key=lambda path: (path.name != main, -path.stat().st_mtime))
    except OSError:  # a cache that may not be read holds nothing for us
        return []


def point_main_at(repo: str, commit: str, *, force: bool) -> None:
    """Let `main` mean `commit`, so that other tools find offline what was fetched.

    Without `force` only where no `main` is known. A cache that may not be written is left as it is.
    """
    ref = repo_folder(repo) / "refs" / "main"
    if force or not ref.is_file():
        with suppress(PixartError):
            publish(commit.encode("ascii"), ref, force=True)


def free_bytes() -> int:
    """Bytes free where the cache is, or would be."""
    folder = hub_cache().absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free


def discard(path: Path) -> None:
    """Take a damaged file out of the cache: the snapshot's link, and the bytes that it leads to.

    Every other snapshot that shares the bytes loses them too: they are as damaged there.

    Raises:
        OSError: if the cache cannot be written.
    """
    for step in _chain(path):
        step.unlink(missing_ok=True)


def remove(paths: Iterable[Path]) -> None:
    """Take files out of their snapshots, then blobs and folders that nothing needs any more.

    Raises:
        OSError: if the cache cannot be written.
    """
    repos: dict[Path, set[Path]] = {}
    for path in paths:
        blobs = repos.setdefault(_repo_of(path), set())
        blobs.update(step for step in _chain(path)[1:] if step.parent.name == "blobs")
        path.unlink(missing_ok=True)
        _remove_empty(path.parent)
    for folder, blobs in repos.items():
        for blob in blobs - _linked(folder):
            blob.unlink(missing_ok=True)
        _sweep(folder)
        if not any(folder.glob("snapshots/*")) and not any(folder.glob("blobs/*")):
            shutil.rmtree(folder, ignore_errors=True)


def bytes_of(paths: Iterable[Path]) -> int:
    """Bytes on the disk behind `paths`, each blob counted once."""
    return sum(path.stat().st_size for path in {path.resolve() for path in paths if path.is_file()})


@contextmanager
def locked(repos: Iterable[str], tell: Callable[[str], None]) -> Iterator[None]:
    """Within, no other pixart changes `repos` in the cache. `tell` is given a sentence before a wait.

    What a killed process left half fetched in them is removed.

    Raises:
        OSError: if the cache cannot be written.
    """
    with ExitStack() as stack:
        for repo in sorted(set(repos)):
            stack.enter_context(_locked(repo, tell))
            _sweep(repo_folder(repo))
        yield


@contextmanager
def _locked(repo: str, tell: Callable[[str], None]) -> Iterator[None]:
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    path = _locks(repo_folder(repo)) / "pixart.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=_PATIENCE))
        except Timeout:
            tell(f"another pixart is at work on {repo}: waiting for it")
            stack.enter_context(WeakFileLock(path))
        yield


def _sweep(folder: Path) -> None:
    """Remove half-fetched files that no living process holds the lock of."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    for partial in folder.glob("blobs/*.incomplete"):
        lock = _locks(folder) / f"{partial.name.partition('.')[0]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), WeakFileLock(lock, timeout=_PATIENCE):
            partial.unlink(missing_ok=True)


def _locks(folder: Path) -> Path:
    return folder.parent / ".locks" / folder.name


def _chain(path: Path) -> list[Path]:
    """`path`, and what it links to, step by step, as far as that is inside the cache."""
    cache, steps = hub_cache().resolve(), [path]
    while path.is_symlink() and len(steps) < 4:
        path = Path(os.path.normpath(path.parent / path.readlink()))
        if not path.parent.resolve().is_relative_to(cache):
            break
        steps.append(path)
    return steps


def _repo_of(path: Path) -> Path:
    """The repository's folder of a snapshot's file."""
    return next(above.parent for above in path.parents if above.name == "snapshots")


def _linked(folder: Path) -> set[Path]:
    """The blobs that any snapshot in `folder` links to."""
    return {step for path in folder.glob("snapshots/**/*") if path.is_symlink() for step in _chain(path)[1:]}


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # the first that is not empty
        while folder.name != "snapshots":
            folder.rmdir()
            folder = folder.parent


def as_disk_error(error: OSError) -> PixartError:
    """The "disk" error for what the cache's disk refused."""
    where = error.filename or hub_cache()
    hint = "Free space, or set HF_HOME to another disk."
    return PixartError("disk", f"cannot write {where}: {error.strerror or error}", hint)
