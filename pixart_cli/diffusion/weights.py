"""Which weights are on this machine, where, and whether they are whole. Never touches the network.

Three places: the model inside the package, the Hugging Face cache shared with every other tool, and
any folder in diffusers' layout. Only safetensors are ever opened. No torch here: `models list` is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.catalog import (
    COMPONENTS,
    ModelSpec,
    Part,
    catalog,
    get_model,
    is_folder,
    spec_of_folder,
)
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import built_in_model_dir, expand_home
from pixart_cli.diffusion.header import damaged, read_header

NETWORKS: Final = ("text_encoder", "vae", "transformer")
_STEMS: Final = ("model", "diffusion_pytorch_model")
_MAX_JSON_BYTES: Final = 16 << 20
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
        return sum(path.stat().st_size for path in self._files())

    @property
    def revision(self) -> str:
        """What exactly these weights are: the hub's commits, or "sha256:" over all weight files."""
        if self.commits:
            return "+".join(self.commits)
        return "sha256:" + _digest(tuple(_identity(path) for path in self._files()))

    def _files(self) -> list[Path]:
        return [path for component in NETWORKS for path in weight_files(self.parts[component])]


def hub_cache() -> Path:
    """The Hugging Face cache, by the rules of huggingface_hub (which fixes its own at import)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return expand_home(os.environ[name])
    if os.environ.get("HF_HOME"):
        return expand_home(os.environ["HF_HOME"]) / "hub"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_home(home) / "huggingface" / "hub"


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
    check_parts(parts, model)
    return Installed(model, spec, parts, commits)


def _folder_parts(folder: Path) -> dict[str, Path]:
    return {component: folder / component for component in COMPONENTS}


def _hub_parts(spec: ModelSpec) -> tuple[dict[str, Path], tuple[str, ...]]:
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
        for snapshot in snapshots(repo):
            folder = snapshot / part.subfolder if part.subfolder else snapshot
            if not missing_files(component, folder):
                return folder
    return None


def snapshots(repo: str) -> list[Path]:
    """Snapshots of `repo` in the shared cache: the one `main` points at first, then the newest."""
    base = hub_cache() / ("models--" + repo.replace("/", "--"))
    try:
        main = (base / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        main = ""
    try:
        folders = [path for path in (base / "snapshots").iterdir() if path.is_dir()]
        return sorted(folders, key=lambda path: (path.name != main, -path.stat().st_mtime))
    except OSError:  # a cache that may not be read holds nothing for us
        return []


def _locate_folder(folder: Path) -> Installed:
    spec = spec_of_folder(folder)
    parts = _folder_parts(folder)
    check_parts(parts, str(folder))
    return Installed(spec.name, _with_own_encoder(spec, parts), parts)


def _with_own_encoder(spec: ModelSpec, parts: Mapping[str, Path]) -> ModelSpec:
    """`spec` as a "mini" where the text encoder is not T5-XXL, and so has a small vocabulary of its own."""
    width = read_json(parts["text_encoder"] / "config.json").get("d_model")
    return spec if width == _T5_XXL_WIDTH else dataclasses.replace(spec, family="mini")


def check_parts(parts: Mapping[str, Path], model: str) -> None:
    """Every component there, every safetensors header sound.

    Raises:
        PixartError: "model-missing" or "weights-invalid".
    """
    for component in COMPONENTS:
        folder = parts.get(component)
        absent = [component] if folder is None else missing_files(component, folder)
        if absent or folder is None:
            raise _missing(model, ", ".join(absent))
        if component in NETWORKS:
            for path in weight_files(folder):
                read_header(path)


def missing_files(component: str, folder: Path) -> list[str]:
    """Names of the files that `component` needs and `folder` lacks."""
    if component == "tokenizer":
        wanted = ("tokenizer.json", "spiece.model")
        there = any(os.path.isfile(folder / name) for name in wanted)
        return [] if there else [f"{component}/{wanted[0]}"]
    if component == "scheduler":
        names = ["scheduler_config.json"]
    else:
        names = ["config.json", *(path.name for path in weight_files(folder))]
    return [f"{component}/{name}" for name in names if not os.path.isfile(folder / name)]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one component, from the shard index where there is one.

    Raises:
        PixartError: "weights-invalid" when the index is no index, or names a file elsewhere.
    """
    for stem in _STEMS:
        index = folder / f"{stem}.safetensors.index.json"
        if os.path.isfile(index):
            return [folder / name for name in _indexed(index)]
    stems = [stem for stem in _STEMS if os.path.isfile(folder / f"{stem}.safetensors")] or [_STEMS[1]]
    return [folder / f"{stems[0]}.safetensors"]


def _indexed(index: Path) -> list[str]:
    table = read_json(index).get("weight_map")
    names = sorted(set(table.values())) if isinstance(table, dict) and _all_text(table.values()) else []
    if not names or any(Path(n).name != n or not n.endswith(".safetensors") for n in names):
        raise damaged(index, "it is not an index of safetensors files")
    return names


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        PixartError: "weights-invalid" when it is too long, unreadable or no object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise damaged(path, "it is too long for a configuration")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise damaged(path, "it is not a JSON object")
    return value


def _missing(model: str, what: str) -> PixartError:
    spec = catalog().get(model)
    if spec is not None and spec.built_in:
        hint = "The installation is not whole: install pixart again."
    else:
        hint = f"Fetch it with `pixart gen --model {model} --yes ...`." if spec else "Complete the folder."
    return PixartError(
        "model-missing", f"the weights of {model} are not on this machine: {what} missing", hint
    )


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


@functools.cache
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """Hex of the sha256 over the files' bytes, one after the other; kept while none of them changes."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
