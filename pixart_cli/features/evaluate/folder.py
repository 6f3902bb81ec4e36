"""The folder of an evaluation, laid out as GenEval's: ``00000/metadata.jsonl``, ``00000/samples/0000.png``.

``run.json`` says what is evaluated; a folder of one evaluation is never gone on with by another.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import read_record
from pixart_cli.core.privacy import public_request
from pixart_cli.core.publish import publish
from pixart_cli.core.request import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA: Final = "pixart.eval-run/1"
_RUN: Final = "run.json"


class RunFolder:
    """Where an evaluation keeps its questions and pictures. Nothing is written before `begin`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, facts: dict[str, Any]) -> None:
        """Make the folder one of `facts`, or see that it is.

        Raises:
            PixartError: "output-invalid" if it holds anything else; "disk".
        """
        run = {"schema": SCHEMA, **facts}
        there = self._read()
        if there is None:
            publish(_json(run), self.path / _RUN)
        elif there != run:
            keys = sorted(key for key in {*there, *run} if there.get(key) != run.get(key))
            what = f"{self.path} holds another evaluation: {', '.join(keys)} differ"
            raise PixartError("output-invalid", what, "Name another folder with --output.")

    def picture_path(self, number: int) -> Path:
        """Where the picture of question `number` is, or will be."""
        return self.path / f"{number:05}" / "samples" / "0000.png"

    def kept(self, number: int, request: GenerationRequest) -> Image | None:
        """The picture of question `number`, if it is whole and was drawn from `request`."""
        from PIL import Image

        path = self.picture_path(number)
        try:
            if read_record(path).request != public_request(request):
                return None
            with Image.open(path) as picture:
                return picture.convert("RGB")
        except (PixartError, OSError, SyntaxError, ValueError):  # to Pillow, damage is any of the three
            return None

    def keep(self, number: int, png: bytes, question: dict[str, Any]) -> None:
        """Write the picture of question `number`, its question first.

        Raises:
            PixartError: "disk".
        """
        path = self.picture_path(number)
        line = json.dumps(question, ensure_ascii=False) + "\n"
        publish(line.encode(), path.parents[1] / "metadata.jsonl", force=True)
        publish(png, path, force=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``.

        Raises:
            PixartError: "disk".
        """
        publish(_json(summary), self.path / "summary.json", force=True)

    def _read(self) -> dict[str, Any] | None:
        """What ``run.json`` says; None where nothing is yet."""
        try:
            if not os.path.lexists(self.path) or not [n for n in os.listdir(self.path) if n[0] != "."]:
                return None
            found = json.loads((self.path / _RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            what = f"{self.path} is no folder of an evaluation"
            raise PixartError("output-invalid", what, "Name another folder with --output.") from error
        return found if isinstance(found, dict) else {}


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
