"""A canvas for flat shapes: Pillow's draw, with discs, polygons, gradients and stripes; it knows what stands
where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pixart_cli.diffusion.posters.palette import mix
from pixart_cli.diffusion.posters.vocabulary import RGB

Point = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """A thing on a canvas: its kind, its middle, and half its larger side."""

    kind: str
    x: float
    y: float
    radius: float


class Canvas:
    """An RGB picture being drawn; lengths are pixels, `unit` the shorter side.

    `placed` and `ridges` (a height per column each) are what was drawn so far, as data.
    """

    def __init__(self, width: int, height: int, ground: RGB) -> None:
        self.width, self.height, self.ground = width, height, ground
        self.unit = min(width, height)
        self.placed: list[Placed] = []
        self.ridges: list[Sequence[float]] = []
        self._open()

    def _open(self) -> None:
        width, height, ground = self.width, self.height, self.ground
        self.image = Image.new("RGB", (width, height), ground)
        self._draw = ImageDraw.Draw(self.image)

    def gradient(self, top: RGB, bottom: RGB) -> None:
        """Fill the whole canvas from `top` to `bottom`."""
        step = max(1, self.height // 256)
        for y in range(0, self.height, step):
            self._draw.rectangle((0, y, self.width, y + step), fill=mix(top, bottom, y / self.height))
        self.ground = top

    def place(self, kind: str, x: float, y: float, radius: float) -> None:
        """Note that a thing of `kind` is here."""
        self.placed.append(Placed(kind, x, y, radius))

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
        self.ridges.append(ridge)
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


class Sketch(Canvas):
    """A canvas without paint: composing on it gives what stands where, 20 times as fast."""

    def _open(self) -> None:
        pass

    def gradient(self, top: RGB, bottom: RGB) -> None:  # noqa: ARG002
        """Only note the ground."""
        self.ground = top

    def disc(self, x: float, y: float, radius: float, ink: RGB) -> None:
        """Nothing."""

    def box(self, left: float, top: float, right: float, bottom: float, ink: RGB) -> None:
        """Nothing."""

    def polygon(self, points: Sequence[Point], ink: RGB) -> None:
        """Nothing."""

    def stroke(self, points: Sequence[Point], width: float, ink: RGB) -> None:
        """Nothing."""


def arc(x: float, y: float, radius: float, start: float, stop: float, steps: int = 40) -> list[Point]:
    """Points on a circle from angle `start` to `stop`, in radians."""
    angles = [start + (stop - start) * i / steps for i in range(steps + 1)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
