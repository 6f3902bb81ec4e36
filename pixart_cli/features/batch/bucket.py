"""Pictures in an object store: created by a conditional put, found again by the head of the object."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import Mark, mark_in_stream
from pixart_cli.features.batch.publishing import Kept
from pixart_cli.features.batch.store import FOLDERS, Store

_HEAD: Final = 1 << 16  # bytes that are fetched at a time while a record is looked for
_EXTRAS: Final = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<bucket>[^/]*)(?:/(?P<rest>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """Where pictures go: `output` below `folder` as a path is written here, and what keeps them.

    Of an object store `folder` is the one that the batch's own files are in or below, named like the bucket.
    """

    output: str | None
    folder: Path
    store: Store


def target_of(output: str | None, cwd: Path) -> Target:
    """What `output` names: something on this machine's disks, or an URL.

    Raises:
        PixartError: "output-invalid" for an URL that cannot be used, "extra-missing" for a store whose
            library is not installed.
    """
    match = _URL.fullmatch(output or "")
    if match is None:
        return Target(output, cwd, FOLDERS)
    scheme, name, rest = match["scheme"], match["bucket"], match["rest"] or ""
    if scheme == "file":
        if name not in ("", "localhost"):
            raise _unusable(output, "names another machine", "Write file:///path/, or the path alone.")
        return Target(f"/{rest}", cwd, FOLDERS)
    if scheme not in _EXTRAS:
        raise _unusable(output, "is of no store that is known", "There are: s3://, gs://, file://.")
    if "@" in name or not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not name.strip("."):
        hint = "Write s3://BUCKET/FOLDER/; keys come from the store's own settings, never from an URL."
        raise _unusable(f"{scheme}://...", "names no bucket", hint)
    module, extra = _EXTRAS[scheme]
    if find_spec(module) is None:
        hint = f"Install it, on every machine that draws: pip install 'pixart-cli[{extra}]'"
        raise PixartError("extra-missing", f"{scheme}:// needs {module}, which is not installed", hint)
    if not rest:
        rest = "./"
    bucket = Bucket(f"{scheme}://{name}", cwd / name, _endpoint(scheme))
    return Target(rest, bucket.root, bucket)


def _unusable(output: str | None, what: str, hint: str) -> PixartError:
    return PixartError("output-invalid", f"{output!r} {what}", hint)


def _endpoint(scheme: str) -> str | None:
    """The server of this machine's settings: the others may have none."""
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return found if scheme == "s3" else None


@dataclass(frozen=True)
class Bucket:
    """The objects of `url`; a path below `root`, which need not exist, stands for the object of that name."""

    url: str
    root: Path
    endpoint: str | None = None

    def name(self, path: Path) -> str:
        """The URL that `path` stands for."""
        return f"{self.url}/{Path(os.path.normpath(path)).relative_to(self.root).as_posix()}"

    def check(self) -> None:
        """Raise "disk" where the bucket does not answer, or is not there."""
        with self._as_disk_error(self.url):
            there = self._files.exists(self.url)
        if not there:
            hint = "Check its name, and the keys that this machine has for it."
            raise PixartError("disk", f"{self.url} is not there, or may not be read", hint)

    def find(self, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False) -> Kept | None:
        """As `publishing.find`."""
        for path in paths:
            mark = self._mark(self.name(path), Mark(fingerprint) if by_name else None)
            if mark and mark.fingerprint == fingerprint:
                return Kept(path, mark.weights)
        return None

    def _mark(self, name: str, known: Mark | None) -> Mark | None:
        """The mark of an object, `known` or read; None where there is no object, or none in it."""
        with self._as_disk_error(name):
            try:
                self._files.invalidate_cache()
                with self._files.open(name, "rb", block_size=_HEAD, cache_type="readahead") as file:
                    return known or mark_in_stream(file, name)
            except FileNotFoundError:
                return None

    def publish(
        self, data: bytes, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False
    ) -> tuple[Path, bool]:
        """As `publishing.publish_picture`. An object appears whole, so it is put under its name at once."""
        for path in paths:
            if self._create(data, self.name(path)):
                return path, False
            if self.find((path,), fingerprint, by_name=by_name):
                return path, True
        hint = "Choose another name with --output, or overwrite it with --force."
        raise PixartError("output-exists", f"{self.name(paths[-1])} exists already", hint)

    def _create(self, data: bytes, name: str) -> bool:
        """Put an object where none is, and say whether that was so."""
        with self._as_disk_error(name):
            try:
                self._files.pipe_file(name, data, mode="create")
            except FileExistsError:
                return False
        return True

    def replace(self, data: bytes, path: Path) -> None:
        """Put an object over what is there."""
        name = self.name(path)
        with self._as_disk_error(name):
            self._files.pipe_file(name, data)

    @property
    def _files(self) -> Any:
        return _filesystem(self.url, self.endpoint)

    @contextmanager
    def _as_disk_error(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            hint = "Check the bucket's name, the network, and the keys that every machine has for it."
            raise PixartError("disk", f"{name}: {reason}", hint) from error


@cache
def _filesystem(url: str, endpoint: str | None) -> Any:
    from fsspec.core import url_to_fs

    options = {"client_kwargs": {"endpoint_url": endpoint}} if endpoint else {}
    return url_to_fs(url, use_listings_cache=False, **options)[0]
