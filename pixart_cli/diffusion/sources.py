"""Which files a model needs, and of which repository and commit: recorded, in the cache, or on the hub."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Final

from pixart_cli.core.catalog import ModelSpec, Part
from pixart_cli.core.components import is_network
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub_cache
from pixart_cli.diffusion.hub import Tell, list_files
from pixart_cli.diffusion.hub_failure import RevisionGoneError, failed
from pixart_cli.diffusion.part_files import STEMS
from pixart_cli.diffusion.records import HubFile, Key, Record, State, records
from pixart_cli.diffusion.weights import find_part

MAIN: Final = "main"


class Lister:
    """Finds the files of each component: from another model's record, the cache, or the hub's list."""

    def __init__(self, spec: ModelSpec, tell: Tell, *, offline: bool) -> None:
        self.spec = spec
        self.mains: dict[str, str] = {}
        self._tell = tell
        self._offline = offline
        self._lists: dict[tuple[str, str], list[HubFile]] = {}

    def files_of(self, component: str) -> tuple[HubFile, ...]:
        """The needed files of `component`, all of one repository and commit."""
        part = self.spec.parts[component]
        known = _recorded(component, part)
        if known:
            return known
        folder = find_part(component, part)
        if folder is None:
            repo, revision = part.repo, MAIN
        else:
            there = folder.parent if part.subfolder else folder
            revision = there.name
            repo = next(r for r in (part.repo, *part.also) if there == hub_cache.snapshot(r, revision))
        try:
            files = self._list(repo, revision)
        except RevisionGoneError:
            if revision == MAIN:
                raise
            repo, files = part.repo, self._list(part.repo, MAIN)
        chosen = choose(component, part, files)
        if not chosen:
            raise failed(repo, f"it holds no {component} as safetensors", "Look at HF_ENDPOINT.")
        return chosen

    def _list(self, repo: str, revision: str) -> list[HubFile]:
        if self._offline:
            raise kept_offline(self.spec)
        if (repo, revision) not in self._lists:
            files = list_files(repo, revision, self._tell)
            self._lists[repo, revision] = files
            if revision == MAIN and files:
                self.mains[repo] = files[0].commit
        return self._lists[repo, revision]


def _recorded(component: str, part: Part) -> tuple[HubFile, ...]:
    """The files of `component` in another model's record, if all of them are there and checked."""
    for record in records():
        repo, commit = record.parts.get(component, ("", ""))
        if repo in (part.repo, *part.also):
            own = (file for file in record.files if file.key[:2] == (repo, commit))
            files = tuple(file for file in own if _folder_of(file.name) == part.subfolder)
            if files and all(file.is_there and record.states[file.key] == "checked" for file in files):
                return files
    return ()


def choose(component: str, part: Part, files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Of a repository's `files` those that `component` needs: no pickles, and one variant of its weights.

    The plain one: an index and its shards, else the single file, as `part_files.weight_files` will look for
    them; never "model.fp16.safetensors" and its like beside it. Empty where nothing can be loaded.
    """
    inside = {file.name.rpartition("/")[2]: file for file in files if _folder_of(file.name) == part.subfolder}
    allowed = {name for name in inside if any(fnmatch.fnmatchcase(name, pattern) for pattern in part.allow)}
    if not is_network(component):
        return tuple(inside[name] for name in sorted(allowed))
    weights = _weights(allowed)
    if not weights or "config.json" not in allowed:
        return ()
    return tuple(inside[name] for name in ("config.json", *weights))


def _weights(names: set[str]) -> list[str]:
    for stem in STEMS:
        if f"{stem}.safetensors.index.json" in names:
            shard = re.compile(rf"{stem}-\d+-of-\d+\.safetensors")
            return [f"{stem}.safetensors.index.json", *sorted(filter(shard.fullmatch, names))]
    return [name for stem in STEMS if (name := f"{stem}.safetensors") in names][:1]


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def begin_record(spec: ModelSpec, chosen: Mapping[str, tuple[HubFile, ...]]) -> Record:
    """A record of the chosen files, none of which this model has checked yet; other records' checks count."""
    files = {file.key: file for component in chosen.values() for file in component}
    states: dict[Key, State] = dict.fromkeys(files, "unchecked")
    parts = {component: files[0].key[:2] for component, files in chosen.items()}
    record = Record(spec.name, parts, tuple(files.values()), states)
    for other in records():
        record = record.with_states(other.states)
    return record


def kept_offline(spec: ModelSpec) -> PixartError:
    """The "model-missing" error of a model that cannot be completed without the network."""
    return PixartError(
        "model-missing",
        f"the weights of {spec.name} are not all on this machine, and the network is not to be used",
        "Run the command again without --offline and HF_HUB_OFFLINE.",
    )
