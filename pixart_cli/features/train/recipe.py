"""How much of everything the built-in model is trained with: sizes, lessons, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pixart_cli.features.train import autoencoder, decoder
from pixart_cli.features.train.loop import StageSettings

Size = tuple[int, int]

# (width, height) and share: at full size bins of the 256-pixel table for screens, paper and squares; before
# that about their halves. Positions span the same range at every size (arXiv 2403.04692, §3),
# so a stage goes on where the smaller one ended.
SMALL_SIZES: Sequence[tuple[Size, float]] = (
    ((128, 128), 0.26), ((176, 96), 0.24), ((96, 176), 0.08), ((144, 112), 0.12), ((112, 144), 0.2),
    ((192, 80), 0.06), ((80, 192), 0.04),
)  # fmt: skip
FULL_SIZES: Sequence[tuple[Size, float]] = (
    ((256, 256), 0.22), ((336, 192), 0.24), ((192, 336), 0.08), ((304, 208), 0.08), ((208, 304), 0.14),
    ((288, 224), 0.06), ((224, 288), 0.08), ((384, 160), 0.06), ((160, 384), 0.04),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One stage of denoising: `pictures` drawn in `sizes`, `steps` of `batch` of them.

    `close_ups` is the share of the pictures that are parts of larger ones, of the first size.
    """

    name: str
    sizes: Sequence[tuple[Size, float]]
    pictures: int
    steps: int
    batch: int
    learning_rate: float
    ema_decay: float
    close_ups: float = 0.0

    @property
    def settings(self) -> StageSettings:
        """The lesson as the training loop wants it."""
        return StageSettings(
            name=self.name, steps=self.steps, learning_rate=self.learning_rate, ema_decay=self.ema_decay
        )


LESSONS: Sequence[Lesson] = (
    Lesson(
        name="small", sizes=SMALL_SIZES, pictures=40_000, steps=3300, batch=32, learning_rate=8e-4,
        ema_decay=0.999,
    ),
    Lesson(
        name="full", sizes=FULL_SIZES, pictures=14_000, steps=24_000, batch=16, learning_rate=6e-4,
        ema_decay=0.9985, close_ups=0.15,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MiniRecipe:
    """How much of everything. The defaults made the weights in the package.

    `start` is the name or the folder of a model to go on from; only the last of `lessons` is given to it.
    """

    seed: int = 0
    start: str | None = None
    autoencoder_steps: int = autoencoder.CROPS[-1][0]
    language_steps: int = 1500
    lessons: Sequence[Lesson] = LESSONS
    rough_pictures: int = 3000
    decoder_steps: int = decoder.DECODER_CROPS[-1][0]
    threads: int = 1

    @property
    def curriculum(self) -> list[tuple[Lesson, range]]:
        """The lessons to give, each with the numbers of its pictures."""
        stops = list(accumulate(lesson.pictures for lesson in self.lessons))
        given = [
            (lesson, range(stop - lesson.pictures, stop))
            for lesson, stop in zip(self.lessons, stops, strict=True)
        ]
        return given if self.start is None else given[-1:]
