"""Which weights are on this machine, where, and whether they are whole. Never touches the network.

Three places: the model inside the package, the Hugging Face cache shared with every other tool, and
any folder in diffusers' layout. Only safetensors are ever opened. No torch here: `models list` is quick.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pixart_cli.core.catalog import (
    ModelSpec,
    Part,
    catalog,
    family_row,
    get_model,
    is_folder,
    spec_of_folder,
)
from pixart_cli.core.components import COMPONENTS, SHARED, is_network, networks_of
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import built_in_model_dir
from pixart_cli.diffusion.digest import digests
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.hub_cache import hub_cache, snapshot, snapshots
from pixart_cli.diffusion.part_files import missing_files, read_json, weight_files
from pixart_cli.diffusion.records import read_record, refuse_unsound

_T5_XXL_WIDTH: Final = 4096


@dataclass(frozen=True)
class Installed:
    """A whole model on this machine: one folder per component."""

    name: str
    spec: ModelSpec
    parts: Mapping[str, Path]
    commits: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all weight files."""
        return sum(path.stat().st_size for path in self.files())

    @property
    def revision(self) -> str:
        """What exactly these weights are: the hub's commits, and "sha256:" over all other weight files."""
        if self.commits:
            return "+".join(self.commits)
        commits = {component: _commit(folder) for component, folder in self.parts.items()}
        files = self.files([component for component in self.networks if commits[component] is None])
        own = ["sha256:" + digests(files)[-1]] if files else []
        return "+".join([*own, *dict.fromkeys(commit for commit in commits.values() if commit)])

    @property
    def networks(self) -> tuple[str, ...]:
        """The components that have weights."""
        return networks_of(self.spec.family)

    @property
    def parameters(self) -> dict[str, int]:
        """How many numbers each network holds, as the headers of its files say."""
        return {
            name: sum(entry.parameters for path in self.files([name]) for entry in read_header(path).values())
            for name in self.networks
        }

    def files(self, components: Iterable[str] | None = None) -> list[Path]:
        """The weight files of `components`, all without; the text encoder's first if it is among them."""
        names = self.networks if components is None else components
        return [path for component in names for path in weight_files(self.parts[component])]


def installed_models() -> dict[str, Installed]:
    """Every model of the catalogue that is whole on this machine, by name, in the catalogue's order."""
    found = {}
    for name in catalog():
        try:
            found[name] = locate(name)
        except PixartError as error:
            if error.code not in ("model-missing", "weights-invalid", "disk"):
                raise
    return found


def parameters_of(model: str) -> dict[str, int]:
    """How many numbers each network of `model` holds; empty where it is not whole on this machine."""
    try:
        return locate(model).parameters
    except PixartError:
        return {}


def locate(model: str) -> Installed:
    """The whole model called `model`, or the one in the folder `model`.

    Raises:
        PixartError: "model-unknown", "model-missing" naming what is absent, or "weights-invalid".
    """
    if is_folder(model):
        return _locate_folder(Path(model))
    spec = get_model(model)
    commits: tuple[str, ...] = ()
    if spec.built_in:
        parts = _folder_parts(built_in_model_dir())
    else:
        parts, commits = _hub_parts(spec)
    try:
        check_parts(parts, model, spec.components)
    except PixartError as error:
        if error.code != "weights-invalid" or spec.built_in:
            raise
        hint = f"`pixart models pull {model}` replaces what is damaged."
        raise PixartError(error.code, error.message, hint) from None
    return Installed(model, spec, parts, commits)


def _folder_parts(folder: Path) -> dict[str, Path]:
    return {component: folder / component for component in COMPONENTS}


def _hub_parts(spec: ModelSpec) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The parts of the revision that was pulled, or where none was, of what other tools left in the cache."""
    record = read_record(spec.name)
    if record is not None:
        refuse_unsound(record)
        folders = {
            name: snapshot(*source) / spec.parts[name].subfolder for name, source in record.parts.items()
        }
        return folders, record.commits
    parts, commits = {}, dict[str, None]()
    for component, part in spec.parts.items():
        folder = find_part(component, part)
        if folder is None:
            raise _missing(spec.name, f"{component} of {part.repo}")
        parts[component] = folder
        commits[folder.parent.name if part.subfolder else folder.name] = None
    return parts, tuple(commits)


def find_part(component: str, part: Part) -> Path | None:
    """The first snapshot folder, of the part's own repository or one as good, that holds it whole."""
    for repo in (part.repo, *part.also):
        for commit in snapshots(repo):
            folder = commit / part.subfolder if part.subfolder else commit
            if not missing_files(component, folder):
                return folder
    return None


def _locate_folder(folder: Path) -> Installed:
    spec = spec_of_folder(folder)
    if spec.is_peer:
        parts = {component: _peer_part(folder, component) for component in spec.components}
        check_parts(parts, str(folder), spec.components)
        return Installed(spec.name, spec, parts)
    parts = _folder_parts(folder) | _borrowed(folder, spec)
    check_parts(parts, str(folder))
    return Installed(spec.name, _with_own_encoder(spec, parts), parts)


def _peer_part(folder: Path, component: str) -> Path:
    """Where `component` is in a folder: diffusers saves Stable Cascade's prior as "prior_prior"."""
    other = folder / f"prior_{component}"
    return other if component == "prior" and os.path.isdir(other) else folder / component


def _borrowed(folder: Path, spec: ModelSpec) -> dict[str, Path]:
    """From the shared cache, the parts common to the family of `spec` that `folder` has no folder of.

    The 2K repository and what `models convert` writes hold only what is their own.

    Raises:
        PixartError: "model-missing" when they are not there either.
    """
    row = family_row(spec.family)
    found = {
        component: find_part(component, row.parts[component])
        for component in SHARED
        if not os.path.isdir(folder / component)
    }
    absent = [component for component, part in found.items() if part is None]
    if absent:
        what = f"{folder} has no {', '.join(absent)} of its own, and they are not on this machine"
        hint = f"Fetch those that all models share with `pixart models pull {row.name}`, or put yours there."
        raise PixartError("model-missing", what, hint)
    return {component: part for component, part in found.items() if part is not None}


def _with_own_encoder(spec: ModelSpec, parts: Mapping[str, Path]) -> ModelSpec:
    """`spec` as a "mini" where the text encoder is not T5-XXL, and so has a small vocabulary of its own."""
    width = read_json(parts["text_encoder"] / "config.json").get("d_model")
    return spec if width == _T5_XXL_WIDTH else dataclasses.replace(spec, family="mini")


def check_parts(parts: Mapping[str, Path], model: str, components: Iterable[str] = COMPONENTS) -> None:
    """Every component there, every safetensors header sound.

    Raises:
        PixartError: "model-missing" or "weights-invalid".
    """
    for component in components:
        folder = parts.get(component)
        absent = [component] if folder is None else missing_files(component, folder)
        if absent or folder is None:
            raise _missing(model, ", ".join(absent))
        if is_network(component):
            for path in weight_files(folder):
                read_header(path)


def _missing(model: str, what: str) -> PixartError:
    spec = catalog().get(model)
    if spec is not None and spec.built_in:
        hint = "The installation is not whole: install pixart again."
    else:
        hint = f"Fetch it with `pixart models pull {model}`." if spec else "Complete the folder."
    return PixartError(
        "model-missing", f"the weights of {model} are not on this machine: {what} missing", hint
    )


def _commit(folder: Path) -> str | None:
    """The hub's commit if `folder` is, or leads to, a part of a snapshot in the shared cache."""
    try:
        inside = folder.resolve().relative_to(hub_cache().resolve())
    except (OSError, ValueError):
        return None
    return inside.parts[2] if len(inside.parts) > 2 and inside.parts[1] == "snapshots" else None
