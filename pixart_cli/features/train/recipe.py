"""How much of everything the built-in model is trained with: sizes, lessons, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

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

    `close_ups` more are parts of larger pictures, of the first size; a step takes them by `close_share`.
    """

    name: str
    sizes: Sequence[tuple[Size, float]]
    pictures: int
    settings: StageSettings
    batch: int
    close_ups: int = 0
    close_share: float = 0.0


# With `seconds`, for a GPU, by Muon and at a higher rate: from nothing, 300 steps of 32 small pictures at
# 3e-3, its error at timestep 250 is 0.124, AdamW's 0.138; at 1e-3 both have more. On a processor Muon takes
# a third more time, which is what it gains.
def _small(pictures: int, steps: int, batch: int, rate: float, seconds: float | None = None) -> Lesson:
    settings = StageSettings(
        name="small", steps=steps, learning_rate=rate, seconds=seconds, muon=seconds is not None
    )
    return Lesson(name="small", sizes=SMALL_SIZES, pictures=pictures, batch=batch, settings=settings)


def _full(
    pictures: int, close_ups: int, steps: int, batch: int, rate: float, seconds: float | None = None
) -> Lesson:
    settings = StageSettings(
        name="full", steps=steps, learning_rate=rate, ema_decay=0.9985, seconds=seconds,
        muon=seconds is not None,
    )  # fmt: skip
    return Lesson(
        name="full", sizes=FULL_SIZES, pictures=pictures, batch=batch, settings=settings,
        close_ups=close_ups, close_share=0.12,
    )  # fmt: skip


AUTOENCODER = StageSettings(name="autoencoder", steps=6000, learning_rate=5e-4, ema_decay=0.998)
LANGUAGE = StageSettings(name="language", steps=1500, learning_rate=2e-3, warmup_steps=50)
DECODER = StageSettings(name="decoder", steps=3000, learning_rate=5e-4, warmup_steps=50, ema_decay=0.998)
LESSONS: Sequence[Lesson] = (_small(40_000, 6000, 32, 8e-4), _full(14_000, 2000, 24_000, 16, 6e-4))


@dataclass(frozen=True, kw_only=True)
class MiniRecipe:
    """How much of everything; the defaults are for a processor.

    `start` is the name or the folder of a model to go on from; only the last of `lessons` is given to it.
    `autoencoder_from` is one whose autoencoder is taken instead of the start's or of a new one.
    `captions` are read in a step of the language stage; `crowd` times as many crops as the schedules of the
    autoencoder and the decoder say are taken.
    """

    seed: int = 0
    start: str | None = None
    autoencoder_from: str | None = None
    autoencoder: StageSettings = AUTOENCODER
    language: StageSettings = LANGUAGE
    lessons: Sequence[Lesson] = LESSONS
    rough_pictures: int = 3000
    decoder: StageSettings = DECODER
    captions: int = 64
    crowd: int = 1
    threads: int = 1
    workers: int = 1

    @property
    def curriculum(self) -> list[tuple[Lesson, range]]:
        """The lessons to give, each with the numbers of its pictures."""
        counts = [lesson.pictures + lesson.close_ups for lesson in self.lessons]
        stops = list(accumulate(counts))
        given = [
            (lesson, range(stop - count, stop))
            for lesson, stop, count in zip(self.lessons, stops, counts, strict=True)
        ]
        return given if self.start is None else given[-1:]


# Shares of the time. Outlines are learned last, at full size.
_SHARES = {"autoencoder": 0.18, "language": 0.04, "small": 0.16, "full": 0.52, "decoder": 0.1}
_NO_END = 10**9


def gpu_recipe(
    minutes: float,
    *,
    seed: int = 0,
    start: str | None = None,
    autoencoder_from: str | None = None,
    workers: int = 1,
) -> MiniRecipe:
    """The recipe for a GPU that trains for `minutes`; drawing and encoding the pictures come on top."""
    seconds = _seconds(60.0 * minutes, start, autoencoder_from)
    return MiniRecipe(
        seed=seed,
        start=start,
        autoencoder_from=autoencoder_from,
        autoencoder=replace(AUTOENCODER, steps=_NO_END, seconds=seconds["autoencoder"], learning_rate=8e-4),
        language=replace(LANGUAGE, steps=3000, seconds=seconds["language"]),
        lessons=(
            _small(120_000, _NO_END, 512, 3e-3, seconds["small"]),
            _full(120_000, 8000, _NO_END, 192, 2e-3, seconds["full"]),
        ),
        rough_pictures=20_000,
        decoder=replace(DECODER, steps=_NO_END, seconds=seconds["decoder"]),
        crowd=6,
        workers=workers,
        captions=512,
    )


def _seconds(whole: float, start: str | None, autoencoder_from: str | None) -> dict[str, float]:
    """The seconds of each stage, `whole` together over those that are not taken from elsewhere."""
    taken = {"autoencoder"} if autoencoder_from else set()
    if start is not None:
        taken |= {"autoencoder", "language", "small"}
    given = sum(share for name, share in _SHARES.items() if name not in taken)
    return {name: whole * share / given for name, share in _SHARES.items()}
