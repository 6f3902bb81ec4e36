"""What was fetched, from which commit, and how it compared with the hub's hashes: one JSON file a model.

The records lie in the state folder, a subfolder for each cache. `weights.locate` loads exactly what the
record names: never a newer commit that another tool brought, never a file that was found damaged.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import state_dir
from pixart_cli.core.publish import publish
from pixart_cli.diffusion.hub_cache import hub_cache, snapshot

SCHEMA: Final = "pixart.weights/1"
State = Literal["checked", "unchecked", "damaged"]
Key = tuple[str, str, str]

_BLOCK: Final = 1 << 22
_REPO: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at one commit.

    `digest` is what the commit says of its bytes: "sha256:…" of large files, of others "git-sha1:…", the
    name git gives a file's content (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
    """

    repo: str
    commit: str
    name: str
    size: int
    digest: str

    @property
    def key(self) -> Key:
        """What names the file."""
        return self.repo, self.commit, self.name

    @property
    def path(self) -> Path:
        """Where the file is in the cache, or would be."""
        return snapshot(self.repo, self.commit) / self.name

    @property
    def is_there(self) -> bool:
        """Whether a file of the right size is in its place."""
        return size_of(self.path) == self.size

    def is_whole(self, on_bytes: Callable[[int], None] = lambda _: None) -> bool:
        """Whether the bytes on the disk are the commit's; `on_bytes` is told how many were read.

        Raises:
            OSError: if they cannot be read.
        """
        return self.is_there and digest_of(self.path, self.digest.partition(":")[0], on_bytes) == self.digest


@dataclass(frozen=True)
class Record:
    """What of one model was fetched: the source of each component, and the state of each file.

    `verified` is when the last check of all files ended, in ISO 8601, or "" before the first.
    """

    model: str
    parts: Mapping[str, tuple[str, str]]
    files: tuple[HubFile, ...]
    states: Mapping[Key, State]
    verified: str = ""

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits of the components, each once."""
        return tuple(dict.fromkeys(commit for _, commit in self.parts.values()))

    @property
    def unfinished(self) -> list[HubFile]:
        """Files that are not there, or were never compared with the hub's hashes."""
        return [file for file in self.files if self.states[file.key] != "checked" or not file.path.is_file()]

    @property
    def damaged(self) -> list[HubFile]:
        """Files that were found damaged, or have not the right size."""
        there = [file for file in self.files if file.path.is_file()]
        return [file for file in there if self.states[file.key] == "damaged" or not file.is_there]

    def with_states(self, states: Mapping[Key, State]) -> Record:
        """This record, the states of its own files replaced by those in `states`."""
        mine = {key: states.get(key, state) for key, state in self.states.items()}
        return dataclasses.replace(self, states=mine)

    def verified_now(self) -> Record:
        """This record, verified at this moment."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return dataclasses.replace(self, verified=now)


def size_of(path: Path) -> int | None:
    """Bytes of the file `path`, None where there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def digest_of(path: Path, kind: str, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The digest of a file's bytes, `kind` is "sha256" or "git-sha1".

    Raises:
        OSError: if the file cannot be read.
    """
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        if kind == "git-sha1":
            digest.update(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        done = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            on_bytes(done)
    return f"{kind}:{digest.hexdigest()}"


def read_record(model: str) -> Record | None:
    """The record of `model` in this cache; None where there is none that can be read."""
    try:
        data = json.loads(_path(model).read_text(encoding="utf-8"))
        return _from_json(data) if data["schema"] == SCHEMA and data["model"] == model else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def records() -> Iterator[Record]:
    """The records of this cache."""
    for model in catalog():
        if (record := read_record(model)) is not None:
            yield record


def write_record(record: Record) -> None:
    """Keep `record`, atomically.

    Raises:
        PixartError: "disk".
    """
    try:
        publish(json.dumps(_to_json(record), indent=1).encode("ascii"), _path(record.model), force=True)
    except PixartError as error:
        hint = "Free space, or set PIXART_STATE_DIR to a folder you may write to."
        raise PixartError("disk", error.message, hint) from None


def mark(states: Mapping[Key, State]) -> None:
    """Note in every record what was found of the files in `states`.

    Raises:
        PixartError: "disk".
    """
    for record in records():
        changed = record.with_states(states)
        if changed.states != record.states:
            write_record(changed)


def forget(model: str) -> None:
    """Remove the record of `model`.

    Raises:
        OSError: if the state folder cannot be written.
    """
    _path(model).unlink(missing_ok=True)


def is_sound_name(name: str) -> bool:
    """Whether a file's name in a repository stays inside its snapshot, on every system."""
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and not any(char in name for char in '\\:*?"<>|')
    return plain and bool(parts) and parts[0] != "/" and ".." not in parts and "/".join(parts) == name


def _path(model: str) -> Path:
    cache = hashlib.sha256(os.fsencode(os.path.realpath(hub_cache()))).hexdigest()[:8]
    return state_dir() / "weights" / cache / f"{model}.json"


def _to_json(record: Record) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": record.model,
        "verified": record.verified,
        "parts": {name: {"repo": repo, "commit": commit} for name, (repo, commit) in record.parts.items()},
        "files": [dataclasses.asdict(file) | {"state": record.states[file.key]} for file in record.files],
    }


def _from_json(data: Mapping[str, Any]) -> Record:
    """The record in `data`.

    Raises:
        ValueError, KeyError, TypeError: when it is none, or names places outside the cache.
    """
    parts = {component: (row["repo"], row["commit"]) for component, row in data["parts"].items()}
    files, states = [], {}
    for row in data["files"]:
        file = HubFile(**{field.name: row[field.name] for field in dataclasses.fields(HubFile)})
        files.append(_checked(file))
        states[file.key] = row["state"]
    known = set(states.values()) <= {"checked", "unchecked", "damaged"}
    if not known or set(parts) != set(catalog()[data["model"]].components):
        raise ValueError("not a record")
    if not {file.key[:2] for file in files} >= set(parts.values()):
        raise ValueError("not a record")
    return Record(data["model"], parts, tuple(files), states, str(data["verified"]))


def _checked(file: HubFile) -> HubFile:
    patterns = ((_REPO, file.repo), (_COMMIT, file.commit), (_DIGEST, file.digest))
    if not all(pattern.fullmatch(text) for pattern, text in patterns) or not is_sound_name(file.name):
        raise ValueError("not a file of the hub")
    if type(file.size) is not int or file.size < 0:
        raise ValueError("no size")
    return file


def refuse_unsound(record: Record) -> None:
    """Raise unless every file of `record` is there, of the right size, and was compared with the hub.

    Raises:
        PixartError: "weights-invalid" naming a damaged file, else "model-missing" for an unfinished download.
    """
    hint = f"`pixart models pull {record.model}` fetches what is damaged or missing, and no more."
    if record.damaged:
        raise PixartError("weights-invalid", f"{record.damaged[0].path} is damaged", hint)
    if record.unfinished:
        left = f"{len(record.unfinished)} of {len(record.files)} files are missing"
        raise PixartError("model-missing", f"the download of {record.model} is not finished: {left}", hint)
