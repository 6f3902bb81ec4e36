"""Landmarks: what stands where, told to the middle of the transformer while it learns.

A network that is only shown pictures takes long to find out that a sun's outline hangs together. Here each
token says, from the middle of the network, which thing it belongs to, where that thing's middle is, how
large it is, and how far above the land it lies; the later blocks draw from that. As in arXiv 2410.06940
(§3.2) the head is thrown away afterwards; in place of another network's features it learns what the drawing
code knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pixart_cli.diffusion.posters.canvas import Sketch
from pixart_cli.diffusion.posters.draw import OVERSAMPLING, compose
from pixart_cli.diffusion.posters.vocabulary import THINGS

if TYPE_CHECKING:
    from pixart_cli.diffusion.posters.scene import Scene

Array = NDArray[np.float32]

TOKEN = 16  # pixels: 8 to a latent, 2 latents to a token
CHANNELS = len(THINGS) + 5  # membership; across, down, size; skyline, ground
_FAR = 4.0  # tokens over a ridge that all count as far


@dataclass(frozen=True)
class Landmarks:
    """Things (N, 4): index into THINGS, x, y, radius; ridges (2, columns): skyline and ground. In tokens.

    `ridges` is empty where there is no land.
    """

    things: Array
    ridges: Array


@lru_cache(maxsize=200_000)
def landmarks(scene: Scene, width: int, height: int, seed: int) -> Landmarks:
    """The landmarks of `draw(scene, width, height, seed=seed)`."""
    sketch = compose(Sketch, scene, width, height, seed=seed)
    token = float(TOKEN * OVERSAMPLING)
    rows = [[THINGS.index(p.kind) * token, p.x, p.y, p.radius] for p in sketch.placed]
    things = np.array(rows, dtype=np.float32).reshape(-1, 4) / np.float32(token)
    if not sketch.ridges:
        return Landmarks(things, np.zeros((0, width // TOKEN), dtype=np.float32))
    middles = (np.arange(width // TOKEN) * token + token / 2).astype(int)
    heights = np.array([[ridge[x] for x in middles] for ridge in sketch.ridges], dtype=np.float32) / token
    return Landmarks(things, np.stack([heights.min(axis=0), heights[-1]]))


def token_map(marks: Landmarks, rows: int, columns: int) -> tuple[Array, Array]:
    """What each token should say, and how much it counts: both (CHANNELS, rows, columns)."""
    said = np.zeros((CHANNELS, rows, columns), dtype=np.float32)
    counts = np.zeros_like(said)
    counts[: len(THINGS)] = 1.0
    y, x = np.mgrid[:rows, :columns].astype(np.float32) + 0.5
    if len(marks.things):
        kind, cx, cy, radius = (column[:, None, None] for column in marks.things.T)
        across, down = cx - x, cy - y
        distance = np.hypot(across, down) / radius
        nearest = distance.argmin(axis=0)[None]
        member = np.take_along_axis(distance - 0.5 / radius, nearest, axis=0)[0] < 1.0
        near = np.take_along_axis(distance - 1.0 / radius, nearest, axis=0)[0] < 1.8
        kinds = kind.astype(int).ravel()[nearest[0]]
        np.put_along_axis(said, kinds[None], member[None].astype(np.float32), axis=0)
        size = np.broadcast_to(radius / 2.0, across.shape)
        for channel, value in enumerate((across / 4.0, down / 4.0, size), start=len(THINGS)):
            said[channel] = np.take_along_axis(value, nearest, axis=0)[0] * near
            counts[channel] = near
    for channel, ridge in enumerate(marks.ridges, start=len(THINGS) + 3):
        said[channel] = np.clip((ridge[None] - y) / _FAR, -1.0, 1.0)
        counts[channel] = 0.5
    return said, counts


class LandmarkHead(nn.Module):
    """Reads landmarks from the states of a block while the transformer learns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, CHANNELS)
        )
        self._states: Tensor | None = None

    def watch(self, block: nn.Module) -> None:
        """Keep the states (B, tokens, width) that `block` gives, for the next `loss`."""
        block.register_forward_hook(self._keep)

    def _keep(self, _block: nn.Module, _given: tuple[Tensor, ...], states: Tensor) -> None:
        self._states = states

    def loss(self, said: Tensor, counts: Tensor) -> Tensor:
        """Squared error per token of what the states watched last say. A scalar.

        `said` and `counts` are (B, tokens, CHANNELS). Without tokens it is zero, with gradients: every
        process of a team averages the same ones.
        """
        states, self._states = self._states, None
        if states is None:
            raise RuntimeError("no block was watched since the last loss")
        read = self.read(states).float()
        if not said.shape[1]:
            nothing: Tensor = read.sum() * 0.0
            return nothing
        error: Tensor = (counts.float() * (read - said.float()).square()).sum(dim=-1).mean()
        return error
