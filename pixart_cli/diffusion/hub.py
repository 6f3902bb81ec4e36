"""The Hugging Face hub: what a repository holds at one commit, and one file of it into the shared cache.

One file at a time with `hf_hub_download`: huggingface_hub's own pool of threads finishes its running
files, minutes each, before it heeds Ctrl-C. It compares sizes only, gives up at the first reset or 503 of
a file, and writes all of a body that is longer than promised: the hash, the retries and the limit are here.
huggingface_hub reads its environment when imported: it is imported inside functions.
"""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.hub_cache import discard, hub_cache
from pixart_cli.diffusion.hub_failure import (
    NotAHubError,
    endpoint,
    failed,
    is_passing,
    reason,
    retry_after,
    translated,
    without_secrets,
)
from pixart_cli.diffusion.records import HubFile, is_sound_name

T = TypeVar("T")
Tell = Callable[[str], None]
OnBytes = Callable[[int], None]

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # seconds


class _TooLongError(Exception):
    """A body that does not end where the commit says."""


def is_offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE


def list_files(repo: str, revision: str, tell: Tell) -> list[HubFile]:
    """The files of `repo` at `revision`, a commit or a branch, with what the commit says of their bytes.

    Raises:
        PixartError: "download-failed"; "weights-invalid" for a name that leads out of the repository.
    """
    with translated(repo), _discreet():
        address = f"{endpoint()}/api/models/{repo}"
        commit = _patiently(lambda: _commit(f"{address}/revision/{revision}"), tell)
        return _patiently(lambda: _tree(repo, commit, f"{address}/tree/{commit}"), tell)


def _commit(address: str) -> str:
    value, _ = _get(address)
    commit = value.get("sha") if isinstance(value, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise NotAHubError
    return commit


def _tree(repo: str, commit: str, address: str) -> list[HubFile]:
    files, page = [], f"{address}?recursive=true&expand=false"
    while page:
        rows, page = _get(page)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise NotAHubError
        files += [_file(repo, commit, row) for row in rows if row.get("type") == "file"]
    return files


def _get(address: str) -> tuple[Any, str]:
    """The JSON at `address`, and the address of its next page."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    wait = constants.HF_HUB_ETAG_TIMEOUT
    answer = get_session().get(address, headers=build_hf_headers(), timeout=wait)
    hf_raise_for_status(answer)
    return answer.json(), str(answer.links.get("next", {}).get("url", ""))


def _file(repo: str, commit: str, row: dict[str, Any]) -> HubFile:
    try:
        name, size, large = str(row["path"]), int(row["size"]), row.get("lfs")
        digest = f"sha256:{large['oid']}" if large else f"git-sha1:{row['oid']}"
    except (KeyError, TypeError, ValueError):
        raise NotAHubError from None
    if not is_sound_name(name):
        what = f"{repo} lists a file that leads out of it: {name[:80]!r}"
        raise PixartError("weights-invalid", what, "Do not use this repository or mirror.")
    return HubFile(repo, commit, name, size, digest)


def fetch_file(file: HubFile, on_bytes: OnBytes, tell: Tell) -> None:
    """Bring `file` into the cache and compare its bytes with the commit's; damaged, it is fetched once more.

    `on_bytes` is told how many have arrived.

    Raises:
        PixartError: "download-failed" when it arrives damaged twice or not at all, or "disk".
    """
    with translated(file.repo), _discreet():
        for tries_left in (1, 0):
            damage = _damage(file, on_bytes, tell)
            if not damage:
                return
            discard(file.path)
            if tries_left:
                tell(f"{file.name} {damage}: it is fetched once more")
    raise failed(file.repo, f"{file.name} {damage}, twice", "Run it again later, or from another network.")


def _damage(file: HubFile, on_bytes: OnBytes, tell: Tell) -> str:
    """Fetch `file`; what is wrong with it, or nothing."""
    try:
        _patiently(lambda: _transfer(file, on_bytes), tell)
    except _TooLongError:
        return "is longer than the hub says"
    return (
        "" if file.is_whole() else f"arrived damaged (its {file.digest.partition(':')[0]} is not the hub's)"
    )


def _transfer(file: HubFile, on_bytes: OnBytes) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download(
        file.repo, file.name, revision=file.commit, cache_dir=hub_cache(), endpoint=endpoint(),
        tqdm_class=_bar(file.size, on_bytes),
    )  # fmt: skip


def _bar(size: int, on_bytes: OnBytes) -> Any:
    """A tqdm that draws nothing, passes the count of bytes on, and stops what exceeds `size`.

    Xet counts bytes on the way and bytes of the file; by `update_transfer` it knows that one bar gets both.
    """
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)  # huggingface_hub's own argument
            super().__init__(*args, **(options | {"disable": True}))
            self.count = int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.count += int(n or 0)
            if self.count > size:
                raise _TooLongError
            on_bytes(self.count)
            return None

        def update_transfer(self, n: float | None = 1) -> None:
            """What is on the way does not count yet."""

        def set_transfer_postfix_str(self, *args: Any, **options: Any) -> None:
            """No speed is shown."""

    return Bar


def _patiently(action: Callable[[], T], tell: Tell) -> T:
    """What `action` gives, tried again a few times while its failures may pass."""
    for pause in _PAUSES:
        try:
            return action()
        except Exception as error:
            if not is_passing(error):
                raise
            asked = retry_after(error)
            wait = pause if asked is None else asked
            tell(f"{reason(error)}: trying again in {wait:.0f} s")
        time.sleep(wait)
    return action()


@contextmanager
def _discreet() -> Iterator[None]:
    """Within, huggingface_hub warns of nothing, and what it logs in spite of that is free of secrets.

    Its warnings hold the signed addresses of the store.
    """
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    for handler in logger.handlers:
        handler.addFilter(_cut_secrets)
    if os.environ.get("HF_DEBUG", "").lower() not in _TRUE:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _cut_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True
