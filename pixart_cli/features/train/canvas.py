"""A canvas for flat shapes: Pillow's draw, with discs, polygons, gradients and stripes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from pixart_cli.features.train.palette import mix
from pixart_cli.features.train.vocabulary import RGB

Point = tuple[float, float]


class Canvas:
    """An RGB picture being drawn; lengths are pixels, `unit` the shorter side."""

    def __init__(self, width: int, height: int, ground: RGB) -> None:
        self.width, self.height, self.ground = width, height, ground
        self.unit = min(width, height)
        self.image = Image.new("RGB", (width, height), ground)
        self._draw = ImageDraw.Draw(self.image)

    def gradient(self, top: RGB, bottom: RGB) -> None:
        """Fill the whole canvas from `top` to `bottom`."""
        step = max(1, self.height // 256)
        for y in range(0, self.height, step):
            self._draw.rectangle((0, y, self.width, y + step), fill=mix(top, bottom, y / self.height))
        self.ground = top

    def disc(self, x: float, y: float, radius: float, ink: RGB) -> None:
        """A filled circle."""
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)

    def box(self, left: float, top: float, right: float, bottom: float, ink: RGB) -> None:
        """A filled rectangle."""
        self._draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=ink)

    def polygon(self, points: Sequence[Point], ink: RGB) -> None:
        """A filled polygon."""
        self._draw.polygon(list(points), fill=ink)

    def stroke(self, points: Sequence[Point], width: float, ink: RGB) -> None:
        """A line through `points` with round joints."""
        self._draw.line(list(points), fill=ink, width=max(1, round(width)), joint="curve")

    def below(self, ridge: Sequence[float], ink: RGB) -> None:
        """Everything under `ridge`, one height per column."""
        step = max(1, self.width // 256)
        points = [(float(x), ridge[x]) for x in range(0, self.width, step)]
        points += [(self.width, ridge[-1]), (self.width, self.height), (0, self.height)]
        self.polygon(points, ink)

    def stripes(self, ink: RGB, direction: str, count: int) -> None:
        """`count` stripes of `ink` over the ground."""
        if direction == "diagonal":
            span = self.width + self.height
            step = span / count
            for i in range(count):
                x = i * step
                edge = x + step / 2
                self.polygon(
                    [(x, 0), (edge, 0), (edge - self.height, self.height), (x - self.height, self.height)],
                    ink,
                )
            return
        length = self.width if direction == "vertical" else self.height
        step = length / count
        for i in range(count):
            a, b = (i + 0.25) * step, (i + 0.75) * step
            if direction == "vertical":
                self.box(a, 0, b, self.height, ink)
            else:
                self.box(0, a, self.width, b, ink)


def arc(x: float, y: float, radius: float, start: float, stop: float, steps: int = 40) -> list[Point]:
    """Points on a circle from angle `start` to `stop`, in radians."""
    angles = [start + (stop - start) * i / steps for i in range(steps + 1)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
