"""Parts of pictures drawn much larger: what a window of an enlarged picture shows."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from PIL import ImageStat

from pixart_cli.diffusion.posters.draw import draw

if TYPE_CHECKING:
    from PIL import Image

    from pixart_cli.diffusion.posters.scene import Scene

ZOOMS = (2, 4, 8)
_SHARES = (0.45, 0.35, 0.2)
_TRIES = 3


def close_up(scene: Scene, width: int, height: int, *, seed: int) -> Image.Image:
    """A part of `width` x `height` pixels of the scene drawn 2, 4 or 8 times as large.

    The liveliest of a few places: most of a poster is plain.
    """
    rng = Random(f"close {seed}")
    zoom = rng.choices(ZOOMS, weights=_SHARES)[0]
    picture = draw(scene, width * zoom, height * zoom, seed=seed)
    places = [(rng.randrange(width * (zoom - 1)), rng.randrange(height * (zoom - 1))) for _ in range(_TRIES)]
    parts = [picture.crop((x, y, x + width, y + height)) for x, y in places]
    return max(parts, key=lambda part: sum(ImageStat.Stat(part).var))
