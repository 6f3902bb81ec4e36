"""The models of the catalogue: which are on this machine, where, whether whole, and how they come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pixart_cli.core.catalog import ModelSpec, catalog, get_model, is_folder
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub_cache, records
from pixart_cli.diffusion.cached_parts import absent_shared, found_files
from pixart_cli.diffusion.hub_failure import RevisionGoneError
from pixart_cli.diffusion.lora_hub import LoraPlan, fetch_lora, is_elsewhere, plan_lora
from pixart_cli.diffusion.pull import (
    OnPull,
    PullEvent,
    PullPlan,
    check,
    is_whole,
    plan_parts,
    plan_pull,
    pull_parts,
)
from pixart_cli.diffusion.pull import pull as fetch
from pixart_cli.diffusion.records import HubFile, Record, read_record
from pixart_cli.diffusion.weights import Installed, locate

__all__ = [
    "HubFile",
    "LoraPlan",
    "ModelState",
    "PullEvent",
    "PullPlan",
    "Removal",
    "RevisionGoneError",
    "Verdict",
    "absent_shared",
    "check",
    "fetch",
    "fetch_lora",
    "folders",
    "is_elsewhere",
    "plan_lora",
    "plan_parts",
    "plan_pull",
    "plan_removal",
    "pull_parts",
    "remove",
    "survey",
    "verify",
]  # fmt: skip

_ABSENT: Final = "model-missing"


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One row of the catalogue on this machine. `problem` says why it is not `installed`.

    `record` is what is known of a download, `bytes_here` how much of it lies in the cache.
    """

    spec: ModelSpec
    installed: Installed | None = None
    problem: PixartError | None = None
    record: Record | None = None
    bytes_here: int = 0

    @property
    def damaged(self) -> bool:
        """Whether files are there and wrong, and not just absent."""
        return self.problem is not None and self.problem.code != _ABSENT

    @property
    def word(self) -> str:
        """ "here", "damaged", "partial" or "not here"."""
        if self.installed is not None:
            return "here"
        return "damaged" if self.damaged else "partial" if self.bytes_here else "not here"

    @property
    def revision(self) -> str:
        """The commits of the weights, or "" for those that are not from the hub."""
        if self.record is not None:
            return "+".join(self.record.commits)
        return "+".join(self.installed.commits) if self.installed is not None else ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify` found of one model. `hashed` is how many files were read whole, of `files`."""

    model: str
    files: int
    hashed: int = 0
    problem: PixartError | None = None
    damaged: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What `remove` will take away. `shared_with` are models that keep some of this one's files."""

    model: str
    paths: tuple[Path, ...]
    shared_with: tuple[str, ...]
    has_record: bool

    @property
    def size_bytes(self) -> int:
        """Bytes that the disk gets back."""
        return hub_cache.bytes_of(self.paths)


def survey() -> list[ModelState]:
    """Every model of the catalogue, in its order; opens headers only, and no network."""
    return [_state(spec) for spec in catalog().values()]


def _state(spec: ModelSpec) -> ModelState:
    record = read_record(spec.name)
    try:
        return ModelState(spec=spec, installed=locate(spec.name), record=record)
    except PixartError as problem:
        here = hub_cache.bytes_of(_paths(spec))
        return ModelState(spec=spec, problem=problem, record=record, bytes_here=here)


def folders(model: str) -> Mapping[str, Path]:
    """Where each component of `model` (a name or a folder) is.

    Raises:
        PixartError: "model-unknown", "model-missing" or "weights-invalid".
    """
    return locate(model).parts


def verify(models: Iterable[str], *, deep: bool, on_check: OnPull) -> list[Verdict]:
    """Compare each of `models` with its record: sizes, or with `deep` every byte. Never uses the network.

    Without a record headers are looked at, and with `deep` files of the cache compared with the hash that
    names their blob. What is found damaged is noted: it is not loaded, and the next pull replaces it.

    Raises:
        PixartError: "model-unknown" for a name that is none; "disk" for what cannot be read.
    """
    return [_verdict(model, deep=deep, on_check=on_check) for model in models]


def _verdict(model: str, *, deep: bool, on_check: OnPull) -> Verdict:
    record = None if is_folder(model) else read_record(get_model(model).name)
    problem, files = None, list(record.files) if record is not None else []
    try:
        installed = locate(model)
        files = files or found_files(installed)
    except PixartError as error:
        if error.code in ("model-unknown", "disk"):
            raise
        problem = error
    # What is there and no weights is read whole, asked for or not, to tell which file it is.
    there = [file for file in files if file.is_there]
    hashed = there if deep or (problem is not None and problem.code != _ABSENT) else []
    damaged = [file for file in files if file.path.is_file() and not file.is_there]
    damaged += _rehashed(hashed, on_check, model)
    if damaged:
        records.mark({file.key: "damaged" for file in damaged})
        problem = _damage(model, damaged)
    names = tuple(str(file.path) for file in damaged)
    return Verdict(model=model, files=len(files), hashed=len(hashed), problem=problem, damaged=names)


def _damage(model: str, damaged: list[HubFile]) -> PixartError:
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    hint = f"`pixart models pull {model}` fetches what is damaged, and no more."
    what = f"{damaged[0].path}{more}: not the bytes that were published"
    return PixartError("weights-invalid", what, hint)


def _rehashed(files: list[HubFile], on_check: OnPull, model: str) -> list[HubFile]:
    """Those of `files` whose bytes are not the published ones."""
    try:
        return [file for index, file in enumerate(files) if not is_whole(files, index, on_check)]
    except OSError as error:
        raise PixartError("disk", f"cannot read the weights of {model}: {error.strerror or error}") from None


def plan_removal(model: str) -> Removal:
    """Which files of `model` no other model on this machine needs.

    Raises:
        PixartError: "model-unknown"; "request-invalid" for what is not in the cache; "model-missing" where
            nothing of it is here.
    """
    spec = get_model(model)
    if spec.built_in:
        raise PixartError(
            "request-invalid", f"{model} is a part of pixart", "Uninstall pixart to be rid of it."
        )
    own, has_record = _paths(spec), read_record(model) is not None
    needed = {name: _needed(other) for name, other in catalog().items() if name != model}
    kept = set().union(*needed.values())
    if not own and not has_record:
        raise PixartError(_ABSENT, f"nothing of {model} is on this machine", "See 'pixart models list'.")
    shared = tuple(name for name, paths in needed.items() if own & paths)
    return Removal(model=model, paths=tuple(sorted(own - kept)), shared_with=shared, has_record=has_record)


def remove(removal: Removal, tell: Callable[[str], None]) -> None:
    """Take the files of `removal` out of the cache, and the model's record.

    Raises:
        PixartError: "disk".
    """
    repos = {part.repo for part in catalog()[removal.model].parts.values()}
    try:
        with hub_cache.locked(repos, tell):
            records.forget(removal.model)
            hub_cache.remove(removal.paths)
    except OSError as error:
        raise hub_cache.as_disk_error(error) from None


def _needed(spec: ModelSpec) -> set[Path]:
    """The files that `spec` loads, or that its unfinished download will go on from."""
    record = read_record(spec.name)
    if record is not None:
        return {file.path for file in record.files}
    try:
        return {path for folder in locate(spec.name).parts.values() for path in folder.iterdir()}
    except PixartError:
        return set()


def _paths(spec: ModelSpec) -> set[Path]:
    """The files of `spec` in the cache: recorded ones, or all in the folders of its parts."""
    record = read_record(spec.name)
    if record is not None:
        return {file.path for file in record.files if file.path.is_file() or file.path.is_symlink()}
    folders = {
        commit / part.subfolder for part in spec.parts.values() for commit in hub_cache.snapshots(part.repo)
    }
    return {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
