"""`records.jsonl`: a line a picture, for people and programs to read. Nothing depends on it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.engine import Published

SCHEMA: Final = "pixart.record/1"


def record_of(published: Published, folder: Path) -> dict[str, Any]:
    """What a line says of a picture; its path is that from `folder`."""
    task, request = published.task, published.task.request
    return {
        "schema": SCHEMA,
        "path": os.path.relpath(published.path, folder),
        "fingerprint": task.fingerprint,
        "width": request.width,
        "height": request.height,
        "seed": request.seed,
        "model": request.model,
        "prompt": request.prompt,
        "line": task.entry.line,
        "seconds": round(published.seconds, 3),
        "by_another": published.by_another,
    }


class Records:
    """Appends lines to the file `path`, each with one write, so that those of two batches do not mix."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def add(self, published: Published) -> None:
        """Append the line of `published`.

        Raises:
            PixartError: "disk".
        """
        text = json.dumps(record_of(published, self.path.parent), ensure_ascii=True) + "\n"
        try:
            if self._handle is None:
                text = self._open() + text
            os.write(self._handle or 0, text.encode("ascii"))
        except OSError as error:
            what = f"cannot write {self.path}: {(error.strerror or str(error)).lower()}"
            raise PixartError("disk", what, "Free some space there, or choose another folder.") from error

    def _open(self) -> str:
        """Open the file; gives the end of a last line that was cut off when its writer was killed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        self._handle = os.open(self.path, flags, 0o666)
        size = os.fstat(self._handle).st_size
        torn = size > 0 and os.pread(self._handle, 1, size - 1) != b"\n"
        return "\n" if torn else ""

    def close(self) -> None:
        """Nothing more comes."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
