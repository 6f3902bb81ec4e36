"""Check a poster that an installed `pixart` drew: `check_poster.py POSTER PROMPT`, with its Python.

Size, text and variety are read with Pillow alone; then `pixart info --json` has to say the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (3840, 2160)
LEAST_COLOURS = 32  # a flat poster has few; a blank one has one


def main(poster: str, prompt: str) -> None:
    """Exit 0 if `poster` is a whole 4K picture that carries `prompt` and a seed, else say what is wrong."""
    with Image.open(poster) as image:
        image.load()
        _same("size", image.size, SIZE)
        _same("mode", image.mode, "RGB")
        small = image.resize((256, 144))
        colours = small.getcolors(256 * 144) or []
        record = json.loads(image.info["pixart"])
    if len(colours) < LEAST_COLOURS:
        sys.exit(f"{poster}: only {len(colours)} colours: nothing was drawn")
    request = record["request"]
    _same("prompt", request["prompt"], prompt)
    _same("delivered size", (request["width"], request["height"]), SIZE)
    _same("what info says", _info(poster)["request"], request)
    sys.stdout.write(f"{poster}: {SIZE[0]}x{SIZE[1]}, {len(colours)} colours, seed {request['seed']}\n")


def _info(poster: str) -> dict[str, Any]:
    command = [Path(sys.executable).parent / "pixart", "info", "--json", poster]
    document = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    _same("info's ok", document["ok"], True)
    image: dict[str, Any] = document["images"][0]
    return image


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        sys.exit(f"{what}: found {found!r}, expected {expected!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
