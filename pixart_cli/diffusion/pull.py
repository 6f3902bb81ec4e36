"""One model of the catalogue onto this machine: what is needed, what of it is missing, and how that comes.

First a plan, which downloads nothing, so that its size can be said and agreed to. Then the files, one by
one: fetched, compared with what the commit says of their bytes, noted in the record. Last the tensors: names
and shapes against the network that the configuration describes. Stopped at any time, the next pull goes on
with the files that were whole, of the same commit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.components import is_network
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub_cache
from pixart_cli.diffusion.hub import Tell, fetch_file, is_offline
from pixart_cli.diffusion.records import (
    HubFile,
    Key,
    Record,
    State,
    mark,
    read_record,
    records,
    size_of,
    write_record,
)
from pixart_cli.diffusion.sources import Lister, begin_record, kept_offline
from pixart_cli.diffusion.tensor_table import check_fit
from pixart_cli.diffusion.weights import Installed, locate


@dataclass(frozen=True, kw_only=True)
class PullEvent:
    """Bytes that arrived ("fetch") or were read again ("check"): `done` of `size` in the file `name`.

    `index` counts the files from 1 to `count`, `total_done` and `total` the bytes of all of them.
    """

    stage: str
    name: str
    done: int
    size: int
    index: int
    count: int
    total_done: int
    total: int


OnPull = Callable[[PullEvent], None]


@dataclass(frozen=True, kw_only=True)
class PullPlan:
    """What `pull` will do. `record` has every file of the model; `mains` are commits that are now `main`."""

    spec: ModelSpec
    record: Record
    mains: Mapping[str, str]

    @property
    def missing(self) -> list[HubFile]:
        """Files to fetch: not there, of the wrong size, or found damaged."""
        files, states = self.record.files, self.record.states
        return [file for file in files if not file.is_there or states[file.key] == "damaged"]

    @property
    def unchecked(self) -> list[HubFile]:
        """Files that are there and were never compared with the hub's hashes."""
        files, states = self.record.files, self.record.states
        return [file for file in files if file.is_there and states[file.key] == "unchecked"]

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that have to come over the network; a file that is there under another commit does not."""
        return sum({file.digest: file.size for file in self.missing if not _is_stored(file)}.values())

    @property
    def is_done(self) -> bool:
        """Whether all is there and was compared with the hub before."""
        return bool(self.record.verified) and not self.record.unfinished and not self.record.damaged


def plan_pull(spec: ModelSpec, tell: Tell, *, offline: bool = False, afresh: bool = False) -> PullPlan:
    """What has to be fetched or checked before `spec` is here; asks the hub only for what no record tells.

    With `afresh` the model's own record does not count: its revision is not on the hub any more.

    Raises:
        PixartError: "model-missing" when offline, "download-failed" when the hub does not answer or does
            not have the model, "weights-invalid" for a hub that lists what no hub should.
    """
    record, mains = None if afresh else read_record(spec.name), dict[str, str]()
    if record is None:
        lister = Lister(spec, tell, offline=offline or is_offline())
        chosen = {component: lister.files_of(component) for component in spec.parts}
        record, mains = begin_record(spec, chosen), lister.mains
    elif _is_suspect(record):
        record = record.with_states(dict.fromkeys(record.states, "unchecked"))
    plan = PullPlan(spec=spec, record=record, mains=mains)
    if plan.missing and (offline or is_offline()):
        raise kept_offline(spec)
    return plan


def _is_suspect(record: Record) -> bool:
    """Whether files that are all there and were whole once are no weights any more."""
    try:
        locate(record.model)
    except PixartError as error:
        return error.code == "weights-invalid" and not record.damaged and not record.unfinished
    return False


def check(plan: PullPlan, on_pull: OnPull, tell: Tell) -> PullPlan:
    """`plan`, once the files that are there are compared with the hub's hashes: damaged ones are missing.

    Raises:
        PixartError: "disk" for what cannot be read.
    """
    files, states = plan.unchecked, dict[Key, State]()
    try:
        for index, file in enumerate(files):
            whole = is_whole(files, index, on_pull)
            states[file.key] = "checked" if whole else "damaged"
            if not whole:
                tell(f"{file.name} on this machine is damaged")
    except OSError as error:
        raise hub_cache.as_disk_error(error) from None
    mark(states)
    return dataclasses.replace(plan, record=plan.record.with_states(states))


def is_whole(files: Sequence[HubFile], index: int, on_pull: OnPull) -> bool:
    """Whether the bytes of `files[index]` are the commit's; reports as one of all `files`.

    Raises:
        OSError: if they cannot be read.
    """
    return files[index].is_whole(partial(_report, on_pull, files, index, "check"))


def pull(plan: PullPlan, on_pull: OnPull, tell: Tell) -> Installed:
    """Fetch, compare and record. Gives the whole model.

    Raises:
        PixartError: "download-failed", "disk", or "weights-invalid" when the weights are not the model's.
    """
    if plan.is_done:
        return locate(plan.spec.name)
    repos = {file.repo for file in plan.record.files}
    # What is whole already is only read: a cache that may not be written will do.
    alone = hub_cache.locked(repos, tell) if plan.missing else nullcontext()
    try:
        with alone:
            return _pull(_refreshed(plan), on_pull, tell)
    except OSError as error:
        raise hub_cache.as_disk_error(error) from None


def _pull(plan: PullPlan, on_pull: OnPull, tell: Tell) -> Installed:
    _refuse_too_little_space(plan)
    fetched = plan.missing
    record = plan.record.with_states({file.key: "unchecked" for file in fetched})
    if fetched:  # from here on nothing of this model is loaded before it was compared
        _note(record)
    for file in fetched:
        if size_of(file.path) is not None:
            hub_cache.discard(file.path)
    todo = [file for file in record.files if record.states[file.key] != "checked"]
    for index, file in enumerate(todo):
        _settle(file, partial(_report, on_pull, todo, index), tell)
        record = record.with_states({file.key: "checked"})
        if fetched:
            _note(record)
    _refuse_unfit(plan, fetched)
    _note(record.verified_now())
    for repo, commit in record.parts.values():
        hub_cache.point_main_at(repo, commit, force=repo in plan.mains)
    return locate(plan.spec.name)


def plan_parts(spec: ModelSpec, components: Iterable[str], tell: Tell) -> PullPlan:
    """What has to be fetched for these components of `spec` alone; its `missing` and `bytes_to_fetch` tell.

    Raises:
        PixartError: as :func:`plan_pull`.
    """
    only = dataclasses.replace(spec, parts={name: spec.parts[name] for name in components})
    lister = Lister(only, tell, offline=is_offline())
    chosen = {component: lister.files_of(component) for component in only.parts}
    return PullPlan(spec=only, record=begin_record(only, chosen), mains=lister.mains)


def pull_parts(plan: PullPlan, on_pull: OnPull, tell: Tell) -> None:
    """Fetch and compare what `plan` of :func:`plan_parts` names. No model is noted as pulled by that.

    Raises:
        PixartError: as :func:`pull`.
    """
    todo = plan.missing
    try:
        with hub_cache.locked({file.repo for file in plan.record.files}, tell):
            _refuse_too_little_space(plan)
            for index, file in enumerate(todo):
                _settle(file, partial(_report, on_pull, todo, index), tell)
            _refuse_unfit(plan, todo)
            for repo, commit in plan.record.parts.values():
                hub_cache.point_main_at(repo, commit, force=repo in plan.mains)
    except OSError as error:
        raise hub_cache.as_disk_error(error) from None


def _note(record: Record) -> None:
    """Keep `record`, and what it says of files that other models share in theirs."""
    write_record(record)
    mark(record.states)


def _settle(file: HubFile, report: Callable[[str, int], None], tell: Tell) -> None:
    """Bring one file to be there and whole."""
    if file.is_there:
        if file.is_whole(partial(report, "check")):
            return
        tell(f"{file.name} on this machine is damaged: it is fetched again")
        hub_cache.discard(file.path)
    fetch_file(file, partial(report, "fetch"), tell)
    report("fetch", file.size)


def _report(on_pull: OnPull, files: Sequence[HubFile], index: int, stage: str, done: int) -> None:
    before, total = sum(file.size for file in files[:index]), sum(file.size for file in files)
    file = files[index]
    on_pull(
        PullEvent(
            stage=stage, name=file.name, done=done, size=file.size, index=index + 1, count=len(files),
            total_done=before + done, total=total,
        )
    )  # fmt: skip


def _refreshed(plan: PullPlan) -> PullPlan:
    """`plan` with what other processes noted while this one asked or waited."""
    known = read_record(plan.spec.name)
    if known is not None and known.parts == plan.record.parts:
        return dataclasses.replace(plan, record=known)
    states: dict[Key, State] = {}
    for record in records():
        states |= record.states
    return dataclasses.replace(plan, record=plan.record.with_states(states))


def _refuse_too_little_space(plan: PullPlan) -> None:
    needed, free = plan.bytes_to_fetch, hub_cache.free_bytes()
    if needed > free:
        what = f"{needed / 1e9:.3g} GB are to be downloaded, and {free / 1e9:.3g} GB are free"
        hint = "Free space, or set HF_HOME to another disk."
        raise PixartError("disk", f"{what} in {hub_cache.hub_cache()}", hint)


def _refuse_unfit(plan: PullPlan, fetched: Iterable[HubFile]) -> None:
    """Compare every tensor's name and shape with the network; what came now and does not fit is removed.

    Raises:
        PixartError: "weights-invalid".
    """
    for name in filter(is_network, plan.spec.parts):
        folder = _folder(plan, name)
        try:
            _check_fit(name, folder, plan.spec)
        except PixartError:
            hub_cache.remove(file.path for file in fetched if file.path.parent == folder)
            raise


def _check_fit(name: str, folder: Path, spec: ModelSpec) -> None:
    """Compare by a table where there is one, else with the class itself."""
    if not spec.is_peer:
        check_fit(name, folder, spec=spec)
        return
    from pixart_cli.diffusion.peer_networks import check_peer_fit

    check_peer_fit(name, folder, spec.family)


def _folder(plan: PullPlan, component: str) -> Path:
    return hub_cache.snapshot(*plan.record.parts[component]) / plan.spec.parts[component].subfolder


def _is_stored(file: HubFile) -> bool:
    blob = hub_cache.repo_folder(file.repo) / "blobs" / file.digest.partition(":")[2]
    return not file.path.is_file() and size_of(blob) == file.size
