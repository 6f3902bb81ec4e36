"""The training pictures of one size, drawn once by several processes: pixels, captions, landmarks.

The arrays lie in memory that the processes share, so nothing is sent between them.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pixart_cli.diffusion.posters.caption import write_caption
from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Landscape, Scene, Stripes, sample_scene
from pixart_cli.features.train import language
from pixart_cli.features.train.close_ups import close_up
from pixart_cli.features.train.landmarks import CHANNELS, TOKEN, landmarks, token_map

if TYPE_CHECKING:
    from PIL import Image
    from transformers import T5Tokenizer

CAPTIONS = 4  # ways of saying each picture
CAPTION_TOKENS = 40  # the longest of 20,000 had 34
_AT_ONCE = 64
_REDRAWN = 0.6  # of plain scenes


@lru_cache(maxsize=200_000)
def training_scene(index: int, seed: int) -> Scene:
    """The scene of training picture `index`, seldom one where nothing stands: those are learned soonest."""
    rng = Random(f"{seed} scene {index}")
    scene = sample_scene(rng)
    return sample_scene(rng) if _is_plain(scene) and rng.random() < _REDRAWN else scene


def _is_plain(scene: Scene) -> bool:
    return isinstance(scene, Stripes) or (isinstance(scene, Landscape) and scene.standing is None)


@dataclass(frozen=True)
class Part:
    """The pictures `indices` of one size, and how often a step takes them; `close`: parts of larger ones."""

    width: int
    height: int
    indices: Sequence[int]
    share: float
    close: bool = False

    def picture(self, row: int, seed: int) -> Image.Image:
        """The picture of `row`, drawn."""
        index = self.indices[row]
        paint = close_up if self.close else draw
        return paint(training_scene(index, seed), self.width, self.height, seed=index)


def choose(parts: Sequence[Part], rng: Random) -> int:
    """The number of the part that a step takes its pictures from."""
    return rng.choices(range(len(parts)), weights=[part.share for part in parts])[0]


@dataclass(frozen=True)
class Gallery:
    """A drawn part: pixels (N, H, W, 3) uint8, caption ids (N, CAPTIONS, CAPTION_TOKENS), landmarks.

    `said` and `counts` (N, tokens, CHANNELS) float16 are what each token should say of the picture, and how
    much that counts; both are empty, (N, 0, CHANNELS), for close-ups.
    """

    part: Part
    pixels: Tensor
    ids: Tensor
    said: Tensor
    counts: Tensor

    def to(self, device: torch.device) -> Gallery:
        """The same on `device`."""
        return Gallery(self.part, *(t.to(device) for t in (self.pixels, self.ids, self.said, self.counts)))

    def whole(self, rows: Tensor) -> Tensor:
        """The pictures `rows`, (B, 3, H, W) in -1..1."""
        return _as_floats(self.pixels[rows])

    def crops(self, rows: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
        """Parts of `size` (height, width) of the pictures `rows`, (B, 3, height, width) in -1..1."""
        device = self.pixels.device
        down = tops[:, None] + torch.arange(size[0], device=device)
        across = lefts[:, None] + torch.arange(size[1], device=device)
        return _as_floats(self.pixels[rows[:, None, None], down[:, :, None], across[:, None, :]])


def _as_floats(pixels_BHWC: Tensor) -> Tensor:
    return pixels_BHWC.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def hang(parts: Sequence[Part], seed: int, *, workers: int) -> list[Gallery]:
    """Draw every picture of `parts`, with `workers` processes where the system can fork."""
    empty = [_empty(part) for part in parts]
    tasks = [
        (number, range(start, min(start + _AT_ONCE, len(part.indices))))
        for number, part in enumerate(parts)
        for start in range(0, len(part.indices), _AT_ONCE)
    ]
    # Close-ups take longest: dealt out first.
    tasks.sort(key=lambda task: not parts[task[0]].close)

    def fill(mine: Iterable[tuple[int, range]]) -> None:
        for number, rows in mine:
            _fill(empty[number], rows, seed)

    _share(fill, tasks, workers)
    return empty


def _share(
    fill: Callable[[Iterable[tuple[int, range]]], None], tasks: Sequence[tuple[int, range]], workers: int
) -> None:
    """Every task once; each process takes every `workers`-th."""
    if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        fill(tasks)
        return
    context = multiprocessing.get_context("fork")
    crew = [context.Process(target=fill, args=(tasks[k::workers],), daemon=True) for k in range(workers)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    if any(process.exitcode for process in crew):
        raise RuntimeError("a process that drew training pictures ended before its time")


def _empty(part: Part) -> Gallery:
    count, height, width = len(part.indices), part.height, part.width
    tokens = 0 if part.close else (height // TOKEN) * (width // TOKEN)
    return Gallery(
        part,
        pixels=_shared((count, height, width, 3), np.uint8),
        ids=_shared((count, CAPTIONS, CAPTION_TOKENS), np.int16),
        said=_shared((count, tokens, CHANNELS), np.float16),
        counts=_shared((count, tokens, CHANNELS), np.float16),
    )


def _shared(shape: tuple[int, ...], dtype: type) -> Tensor:
    """Zeros that processes forked later write for all to see."""
    size = max(1, prod(shape) * np.dtype(dtype).itemsize)
    array: np.ndarray = np.frombuffer(mmap.mmap(-1, size), dtype=dtype, count=prod(shape))
    return torch.from_numpy(array.reshape(shape))


def _fill(gallery: Gallery, rows: range, seed: int) -> None:
    """Draw the pictures of `rows`, caption them and note what stands where."""
    part, texts = gallery.part, list[str]()
    # NumPy alone writes: a forked process must not wait for threads of PyTorch that only its parent has.
    pixels, said, counts = (t.numpy() for t in (gallery.pixels, gallery.said, gallery.counts))
    for row in rows:
        pixels[row] = np.asarray(part.picture(row, seed))
        texts += _captions(part.indices[row], seed)
        if not part.close:
            said[row], counts[row] = _landmarks(part, row, seed)
    ids = language.tokenize(_tokenizer(), texts)[0].numpy()[:, :CAPTION_TOKENS]
    gallery.ids.numpy()[rows.start : rows.stop, :, : ids.shape[1]] = ids.reshape(len(rows), CAPTIONS, -1)


def _landmarks(part: Part, row: int, seed: int) -> Sequence[np.ndarray]:
    """What each token should say, and how much it counts: both (tokens, CHANNELS)."""
    index = part.indices[row]
    marks = landmarks(training_scene(index, seed), part.width, part.height, index)
    maps = token_map(marks, part.height // TOKEN, part.width // TOKEN)
    return [each.reshape(CHANNELS, -1).T for each in maps]


def _captions(index: int, seed: int) -> list[str]:
    rng = Random(f"{seed} captions {index}")
    return [write_caption(training_scene(index, seed), rng).text for _ in range(CAPTIONS)]


@lru_cache(maxsize=1)
def _tokenizer() -> T5Tokenizer:
    return language.build_tokenizer()
