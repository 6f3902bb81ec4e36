"""Create-if-absent, decided by fingerprints: which place is a picture's own, and how it gets there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import Mark, mark_in
from pixart_cli.core.publish import publish

SHORT = 8  # digits of a fingerprint that tell two pictures of one name apart


@dataclass(frozen=True)
class Kept:
    """A picture that exists, and the weights it was drawn with, if it says so."""

    path: Path
    weights: str | None = None


def places(path: Path, fingerprint: str) -> tuple[Path, Path]:
    """Where a picture goes, and where if another has that name: the same however a list is ordered."""
    return path, path.with_name(f"{_shortened(path.stem)}-{fingerprint[:SHORT]}{path.suffix}")


def _shortened(stem: str, most: int = 255 - 1 - SHORT - 4) -> str:
    """`stem`, cut where the addition would make a name longer than file systems take."""
    data = os.fsencode(stem)
    return stem if len(data) <= most else data[:most].decode("utf-8", "ignore")


def find(paths: Sequence[Path], fingerprint: str, *, by_name: bool = False) -> Kept | None:
    """Which of `paths` holds the whole picture with this fingerprint; None if it has to be drawn.

    Args:
        by_name: a picture without metadata is known by its name alone, which then holds the fingerprint.
    """
    for path in paths:
        if os.path.lexists(path):
            mark = Mark(fingerprint) if by_name else mark_in(path)
            if mark and mark.fingerprint == fingerprint:
                return Kept(path, mark.weights)
    return None


def publish_picture(
    data: bytes, paths: Sequence[Path], fingerprint: str, *, by_name: bool = False
) -> tuple[Path, bool]:
    """Publish the PNG `data` at the first of `paths` that is free; gives it, and whether it was there.

    Two batches may do this at the same time: one creates the file, the other finds it.

    Raises:
        PixartError: "output-exists" when all of `paths` are other pictures; as `publish` does.
    """
    for path in paths:
        try:
            publish(data, path)
        except PixartError as error:
            if error.code != "output-exists":
                raise
            taken = error
        else:
            return path, False
        if find((path,), fingerprint, by_name=by_name):
            return path, True
    raise taken
