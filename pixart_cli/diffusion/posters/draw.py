"""A scene, drawn: flat shapes with edges, at any size, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, TypeVar

from pixart_cli.diffusion.posters.canvas import Canvas
from pixart_cli.diffusion.posters.lands import draw_land
from pixart_cli.diffusion.posters.palette import jitter, mix, shade
from pixart_cli.diffusion.posters.scene import Group, Landscape, Scene, Shapes, Stripes
from pixart_cli.diffusion.posters.things import (
    BIRD_WIDTHS,
    CLOUD_WIDTHS,
    SUN_RADII,
    draw_bird,
    draw_cloud,
    draw_moon,
    draw_shape,
    draw_standing,
    draw_sun,
)
from pixart_cli.diffusion.posters.vocabulary import PLACES

if TYPE_CHECKING:
    from PIL import Image

OVERSAMPLING = 3
Paper = TypeVar("Paper", bound=Canvas)


def draw(scene: Scene, width: int, height: int, *, seed: int) -> Image.Image:
    """The scene as an RGB picture of `width` x `height` pixels; equal seeds give equal pictures."""
    return compose(Canvas, scene, width, height, seed=seed).image.reduce(OVERSAMPLING)


def compose(paper: type[Paper], scene: Scene, width: int, height: int, *, seed: int) -> Paper:
    """The scene on a `paper` OVERSAMPLING times as large as `width` x `height`."""
    rng = Random(seed)
    canvas = paper(width * OVERSAMPLING, height * OVERSAMPLING, jitter(rng, _ground(scene)))
    if isinstance(scene, Landscape):
        _landscape(canvas, scene, rng)
    elif isinstance(scene, Shapes):
        _shapes(canvas, scene, rng)
    else:
        _stripes(canvas, scene, rng)
    return canvas


def _ground(scene: Scene) -> str:
    if isinstance(scene, Landscape):
        return scene.sky
    return scene.background if isinstance(scene, Shapes) else scene.first


def _landscape(canvas: Canvas, scene: Landscape, rng: Random) -> None:
    sky = canvas.ground
    low = mix(sky, (255, 244, 230), rng.uniform(0.0, 0.22))
    canvas.gradient(sky, low)
    horizon = canvas.height * rng.uniform(0.54, 0.62)
    spots = _sky_spots(scene, canvas, rng, horizon)
    if scene.flyers is not None and scene.flyers.kind == "stars":
        _stars(canvas, rng, horizon, spots)
    if scene.celestial is not None:
        _celestial(canvas, scene.celestial, spots[0], rng)
    if scene.flyers is not None and scene.flyers.count:
        _flyers(canvas, scene.flyers, spots[1:], rng)
    ink = jitter(rng, scene.land_colour)
    bare, glow = scene.standing is None, None
    if bare and scene.celestial is not None:
        glow = spots[0][0], jitter(rng, scene.celestial.colour)
    draw_land(canvas, scene.land, ink, horizon=horizon, glow=glow, bare=bare, rng=rng)
    if scene.standing is not None:
        _standing(canvas, scene.standing, rng)


def _sky_spots(scene: Landscape, canvas: Canvas, rng: Random, horizon: float) -> list[tuple[float, float]]:
    """Where the sun or moon is (first), then places for things in the air that keep clear of it."""
    w, unit = canvas.width, canvas.unit
    place = (scene.celestial.place if scene.celestial else None) or "center"
    x = _middle(place, w) + rng.uniform(-0.05, 0.05) * w
    radius, towers = 0.18 * unit, scene.land == "city"
    high, low = max(0.19 * unit, 0.3 * horizon), (0.36 if towers else 0.46) * horizon
    sun = (min(w - radius, max(radius, x)), rng.uniform(high, max(high, low)))
    count = scene.flyers.count if scene.flyers else 0
    top, bottom = 0.11 * unit, 0.54 * horizon
    air = _air_spots(canvas, sun[0] if scene.celestial else None, place, count)
    return [
        sun,
        *((_about(x, 0.02 * unit, rng), _about(top + y * (bottom - top), 0.015 * unit, rng)) for x, y in air),
    ]


def _middle(place: str, width: float) -> float:
    """The middle of a third."""
    return width * (PLACES.index(place) * 2 + 1) / 6


def _about(value: float, far: float, rng: Random) -> float:
    return value + rng.uniform(-far, far)


def _air_spots(canvas: Canvas, sun: float | None, place: str, count: int) -> list[tuple[float, float]]:
    """`count` places in the sky, or beside a `sun` or moon in the third `place`: (x, share of the height).

    Where things are says how many there are. Of things scattered anywhere a small network learns shape and
    ink, and never the number.
    """
    w, clear = canvas.width, 0.2 * canvas.unit
    if sun is not None and place == "center":
        left, right = 0.5 * (sun - clear), 0.5 * (w + sun + clear)
        return [(left if side < 0 else right, y) for side, y in _BESIDE[count]]
    start = sun + clear if sun is not None and place == "left" else 0.0
    end = sun - clear if sun is not None and place == "right" else float(w)
    return [(start + across * (end - start), y) for across, y in _SPREAD[count]]


# By number: shares of the sky's width, and heights; then sides of a sun in the middle, and heights.
_SPREAD: Sequence[Sequence[tuple[float, float]]] = (
    (), ((0.5, 0.45),), ((0.25, 0.45), (0.75, 0.45)), ((0.25, 0.0), (0.75, 0.0), (0.5, 1.0)),
    ((0.25, 0.0), (0.75, 0.0), (0.25, 1.0), (0.75, 1.0)),
)  # fmt: skip
_BESIDE: Sequence[Sequence[tuple[int, float]]] = (
    (), ((1, 0.45),), ((-1, 0.45), (1, 0.45)), ((-1, 0.45), (1, 0.0), (1, 1.0)),
    ((-1, 0.0), (1, 0.0), (-1, 1.0), (1, 1.0)),
)  # fmt: skip


def _celestial(canvas: Canvas, group: Group, spot: tuple[float, float], rng: Random) -> None:
    ink = jitter(rng, group.colour)
    radius = canvas.unit * rng.uniform(*SUN_RADII)
    if group.kind == "sun":
        draw_sun(canvas, spot, radius, ink, rng)
    else:
        draw_moon(canvas, spot, radius, ink)


def _flyers(canvas: Canvas, group: Group, spots: list[tuple[float, float]], rng: Random) -> None:
    ink = jitter(rng, group.colour, 4)
    for spot in spots:
        if group.kind == "cloud":
            draw_cloud(canvas, spot, canvas.unit * rng.uniform(*CLOUD_WIDTHS), ink, rng)
        else:
            draw_bird(canvas, spot, canvas.unit * rng.uniform(*BIRD_WIDTHS), ink)


def _stars(canvas: Canvas, rng: Random, horizon: float, spots: list[tuple[float, float]]) -> None:
    for _ in range(rng.randint(16, 28)):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, horizon * 0.92)
        if (x - spots[0][0]) ** 2 + (y - spots[0][1]) ** 2 > (0.24 * canvas.unit) ** 2:
            canvas.disc(x, y, canvas.unit * rng.uniform(0.012, 0.022), (250, 248, 236))


def _standing(canvas: Canvas, group: Group, rng: Random) -> None:
    """Things in a row in front, low enough to leave the land's outline to be seen."""
    ink, floor = jitter(rng, group.colour), rng.uniform(0.88, 0.92) * canvas.height
    w = canvas.width
    size = min(canvas.unit * rng.uniform(0.3, 0.37), 0.82 * w / max(group.count, 2))
    if group.place is not None:
        xs = [_middle(group.place, w) + rng.uniform(-0.03, 0.03) * w]
    else:
        start, step = rng.uniform(0.46, 0.54), w / group.count
        xs = [step * (i + start) + rng.uniform(-0.03, 0.03) * step for i in range(group.count)]
    for x in xs:
        inside = min(w - 0.55 * size, max(0.55 * size, x))
        draw_standing(canvas, group.kind, (inside, _about(floor, 0.015 * canvas.height, rng)), size, ink)


def _shapes(canvas: Canvas, scene: Shapes, rng: Random) -> None:
    if rng.random() < 0.3:
        canvas.gradient(canvas.ground, shade(canvas.ground, rng.uniform(0.9, 1.06)))
    if scene.relation is None:
        group = scene.groups[0]
        ink, size = jitter(rng, group.colour), _shape_size(canvas, group) * rng.uniform(0.92, 1.06)
        for spot in _shape_spots(canvas, group, rng):
            draw_shape(canvas, group.kind, spot, size, ink)
        return
    for group, spot in zip(scene.groups, _related(canvas, scene.relation, rng), strict=True):
        size = (
            0.23 * canvas.unit
            if canvas.width > 1.3 * canvas.height or scene.relation[0] in "lr"
            else 0.21 * canvas.unit
        )
        draw_shape(canvas, group.kind, spot, size * rng.uniform(0.94, 1.06), jitter(rng, group.colour))


def _shape_size(canvas: Canvas, group: Group) -> float:
    """Half a shape's side; of one in a third of a square picture less, or its middle were in the next."""
    if group.place in ("left", "right"):
        return canvas.unit * 0.25
    return canvas.unit * (0.32, 0.2, 0.145, 0.165)[group.count - 1]


def _shape_spots(canvas: Canvas, group: Group, rng: Random) -> list[tuple[float, float]]:
    w, h, unit = canvas.width, canvas.height, canvas.unit
    if group.place is not None:
        size = _shape_size(canvas, group) * 1.06
        x = _middle(group.place, w) + rng.uniform(-0.03, 0.03) * w
        return [(min(w - size, max(size, x)), h * rng.uniform(0.44, 0.56))]
    grid = _grids(group.count, w > 1.4 * h, h > 1.4 * w)
    rows, columns = max(r for r, _ in grid) + 1, max(c for _, c in grid) + 1
    step_x, step_y = min(w / columns, 0.6 * unit), min(h / rows, 0.6 * unit)
    if group.count == 4 and rows == columns == 2:
        step_x = step_y = 0.42 * unit
    shift = [rng.uniform(-0.015, 0.015) * unit for _ in range(2)]
    return [
        (
            w / 2 + (c - (columns - 1) / 2) * step_x + shift[0],
            h / 2 + (r - (rows - 1) / 2) * step_y + shift[1],
        )
        for r, c in grid
    ]


def _grids(count: int, wide: bool, tall: bool) -> list[tuple[float, float]]:
    if count == 4 and not wide and not tall:
        return [(0, 0), (0, 1), (1, 0), (1, 1)]
    return [(i, 0) for i in range(count)] if tall else [(0, i) for i in range(count)]


def _related(canvas: Canvas, relation: str, rng: Random) -> list[tuple[float, float]]:
    w, h, unit = canvas.width, canvas.height, canvas.unit
    sideways = relation in ("left of", "right of")
    gap = min(w / 4, 0.34 * unit) if sideways else min(h / 4, 0.34 * unit)
    sign = -1 if relation in ("left of", "above") else 1
    across = rng.uniform(-0.04, 0.04) * unit
    steps = [(sign * gap, across), (-sign * gap, -across)]
    return [(w / 2 + (a if sideways else b), h / 2 + (b if sideways else a)) for a, b in steps]


def _stripes(canvas: Canvas, scene: Stripes, rng: Random) -> None:
    count = rng.randint(4, 6)
    canvas.stripes(jitter(rng, scene.second), scene.direction, count)
