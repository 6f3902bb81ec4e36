"""What the shared cache has of a model beyond what `weights.locate` asks for: parts that a folder lacks, and
files that no record tells of.
"""

from __future__ import annotations

import os
from pathlib import Path

from pixart_cli.core.catalog import ModelSpec, family_row, spec_of_folder
from pixart_cli.core.components import SHARED
from pixart_cli.diffusion.records import HubFile
from pixart_cli.diffusion.weights import Installed, find_part


def absent_shared(folder: Path) -> tuple[ModelSpec, tuple[str, ...]]:
    """The row of the catalogue that has the parts common to the family of the model in `folder`, and which of
    them neither the folder nor this machine has.

    Raises:
        PixartError: as `spec_of_folder`.
    """
    row = family_row(spec_of_folder(folder).family)
    own = {component for component in SHARED if os.path.isdir(folder / component)}
    rest = (component for component in SHARED if component not in own)
    return row, tuple(name for name in rest if find_part(name, row.parts[name]) is None)


def found_files(installed: Installed) -> list[HubFile]:
    """The cache's files of a model that no record tells of; a blob's name is the hub's hash of its bytes."""
    files = []
    for folder in installed.parts.values():
        for path in sorted(folder.iterdir()) if installed.commits else ():
            kind = {64: "sha256", 40: "git-sha1"}.get(len(path.resolve().name), "")
            if kind and path.resolve().parent.name == "blobs":
                commit = next(above for above in path.parents if above.parent.name == "snapshots")
                repo = commit.parents[1].name.removeprefix("models--").replace("--", "/", 1)
                name, digest = path.relative_to(commit).as_posix(), f"{kind}:{path.resolve().name}"
                files.append(HubFile(repo, commit.name, name, path.stat().st_size, digest))
    return files
