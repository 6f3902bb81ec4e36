"""Weights from the Hugging Face hub into the cache that every other tool shares.

One file at a time with `hf_hub_download`: huggingface_hub's own pool of threads finishes its running
files, minutes each, before it heeds Ctrl-C. Its downloads check sizes only, so hashes are checked here.
huggingface_hub reads its environment when imported: it is imported inside functions.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.catalog import ModelSpec, Part
from pixart_cli.core.errors import PixartError
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent
from pixart_cli.diffusion.weights import Installed, find_part, hub_cache, locate

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRETS: Final = re.compile(r"hf_[A-Za-z0-9]{8,}|(?<=\?)\S+|(?<=//)[^/@\s]+@")
_CLIENTS: Final = frozenset({"httpx", "httpx2", "httpcore", "huggingface_hub"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit; `sha256` is known for large files only."""

    repo: str
    commit: str
    name: str
    size: int
    sha256: str | None


def is_offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def download_size(spec: ModelSpec, *, offline: bool = False) -> int:
    """Bytes that `fetch` would download: parts that are here already do not count.

    Raises:
        PixartError: "model-missing" when offline, "download-failed" when the hub does not answer.
    """
    return sum(file.size for file in _wanted(spec, offline=offline))


def fetch(spec: ModelSpec, on_progress: ProgressCallback, *, offline: bool = False) -> Installed:
    """Download what is missing of `spec`, check every hash, and return the whole model.

    `on_progress` gets events of stage "fetch" in bytes.

    Raises:
        PixartError: "model-missing" when offline, "download-failed", or "disk".
    """
    files = _wanted(spec, offline=offline)
    total, done = sum(file.size for file in files), 0
    for file in files:
        with _translated(file.repo):
            _download(file, partial(_report, on_progress, done, total))
        done += file.size
        _report(on_progress, done, total, 0)
    for repo in dict.fromkeys(file.repo for file in files):
        _remember_main(repo, [file.name for file in files if file.repo == repo])
    return locate(spec.name)


def _report(on_progress: ProgressCallback, before: int, total: int, count: int) -> None:
    on_progress(ProgressEvent(stage="fetch", step=before + count, total=total))


def _wanted(spec: ModelSpec, *, offline: bool) -> list[RemoteFile]:
    """The files of every part that is not whole on this machine."""
    missing = {name: part for name, part in spec.parts.items() if find_part(name, part) is None}
    if missing and (offline or is_offline()):
        raise PixartError(
            "model-missing",
            f"the weights of {spec.name} are not on this machine, and the network is not to be used",
            "Run the command again without --offline and HF_HUB_OFFLINE.",
        )
    listings: dict[str, list[RemoteFile]] = {}
    files: dict[tuple[str, str], RemoteFile] = {}
    for part in missing.values():
        if part.repo not in listings:
            with _translated(part.repo):
                listings[part.repo] = _listing(part.repo)
        chosen = [file for file in listings[part.repo] if _matches(file.name, part)]
        if not chosen:
            raise _failed(part.repo, f"it holds no {part.subfolder or 'weights'} as safetensors")
        files |= {(file.repo, file.name): file for file in chosen}
    return list(files.values())


def _listing(repo: str) -> list[RemoteFile]:
    from huggingface_hub import HfApi

    info = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None).model_info(
        repo, revision="main", files_metadata=True
    )
    return [
        RemoteFile(repo, str(info.sha), file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or []
    ]


def _matches(name: str, part: Part) -> bool:
    folder, _, base = name.rpartition("/")
    return folder == part.subfolder and any(fnmatch.fnmatchcase(base, pattern) for pattern in part.allow)


def _download(file: RemoteFile, on_bytes: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_download

    path = Path(
        hf_hub_download(
            file.repo,
            file.name,
            revision=file.commit,
            cache_dir=hub_cache(),
            tqdm_class=_bar(on_bytes),
        )
    )
    if file.sha256 is not None and _sha256(path) != file.sha256:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise _failed(file.repo, f"{file.name} arrived damaged (its sha256 is not the hub's)")


def _bar(on_bytes: Callable[[int], None]) -> Any:
    """A tqdm that draws nothing and passes the count of bytes on."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)  # huggingface_hub's own argument
            super().__init__(*args, **(options | {"disable": True}))
            self.count = int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.count += int(n or 0)
            on_bytes(self.count)
            return None

    return Bar


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remember_main(repo: str, names: Iterable[str]) -> None:
    """Let `main` of the shared cache point at what was fetched, so that other tools find it offline too."""
    from huggingface_hub import hf_hub_download

    with _translated(repo):
        for name in names:
            hf_hub_download(repo, name, revision="main", cache_dir=hub_cache())
            break


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    """Whatever the hub's client, its HTTP library or the disk raise, as one error with a way out.

    Raises:
        PixartError: "download-failed", or "disk" when the cache cannot be written.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except PixartError:
        raise
    except HfHubHTTPError as error:
        raise _failed(repo, _sentence(error)) from None
    except (PermissionError, NotADirectoryError) as error:
        raise _disk(error) from None
    except OSError as error:
        if error.errno in _DISK_ERRNOS:
            raise _disk(error) from None
        raise _failed(repo, _sentence(error)) from None
    except ValueError as error:  # a page that is no hub's answer
        raise _failed(repo, f"the answer is not a hub's: {_sentence(error)}") from None
    except Exception as error:
        # Errors of httpx (httpx2 since huggingface_hub 2) are no OSError and share no importable name.
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise _failed(repo, _sentence(error)) from None


_DISK_ERRNOS: Final[Mapping[int, str]] = {13: "EACCES", 27: "EFBIG", 28: "ENOSPC", 30: "EROFS", 122: "EDQUOT"}


def _sentence(error: BaseException) -> str:
    """The first line of `error` without tokens, credentials and signed queries."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _SECRETS.sub("…", lines[0])[:300]


def _failed(repo: str, why: str) -> PixartError:
    return PixartError(
        "download-failed",
        f"{repo} could not be fetched: {why}",
        "Check the connection (and HTTPS_PROXY, HF_ENDPOINT, HF_TOKEN if you use them), then try again.",
    )


def _disk(error: OSError) -> PixartError:
    where = error.filename or hub_cache()
    hint = "Free space, or set HF_HOME to another disk."
    return PixartError("disk", f"cannot write {where}: {error.strerror or error}", hint)
