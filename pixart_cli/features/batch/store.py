"""Where pictures are published: folders here, or on a disk that all workers share, or an object store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pixart_cli.core.publish import publish
from pixart_cli.features.batch.publishing import Kept, find, publish_picture


class Store(Protocol):
    """Creates a picture where none is, and finds it again. It travels to workers."""

    def name(self, path: Path) -> str:
        """What `path` is called, for people and programs."""
        ...

    def check(self) -> None:
        """Raise "disk" where nothing can be published, if that can be known."""
        ...

    def find(self, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False) -> Kept | None:
        """As `publishing.find`."""
        ...

    def publish(
        self, data: bytes, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False
    ) -> tuple[Path, bool]:
        """As `publishing.publish_picture`."""
        ...

    def replace(self, data: bytes, path: Path) -> None:
        """Publish over what is there.

        Raises:
            PixartError: "disk".
        """
        ...


@dataclass(frozen=True)
class Folders:
    """Folders that this process sees."""

    def name(self, path: Path) -> str:
        """The path itself."""
        return str(path)

    def check(self) -> None:
        """Nothing: folders are tried where they are made."""

    def find(self, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False) -> Kept | None:
        """As `publishing.find`."""
        return find(paths, fingerprint, by_name=by_name)

    def publish(
        self, data: bytes, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False
    ) -> tuple[Path, bool]:
        """As `publishing.publish_picture`."""
        return publish_picture(data, paths, fingerprint, by_name=by_name)

    def replace(self, data: bytes, path: Path) -> None:
        """As `publish` with force."""
        publish(data, path, force=True)


FOLDERS: Store = Folders()
