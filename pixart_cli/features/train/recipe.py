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


# With `seconds`, by Muon: from nothing, 300 steps of 32 small pictures at 3e-3, its error at timestep 250 is
# 0.124, AdamW's 0.138; at 1e-3 both have more. On a processor it takes a third more time for that.
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
_SHARES_FROM = {"full": 0.9, "decoder": 0.1}  # of a saved model, whose decoder has learned already
_NO_END = 10**9


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How much a kind of device takes at once, and how many pictures are worth drawing for it."""

    pictures: int
    close_ups: int
    rough_pictures: int
    small: tuple[int, float]  # pictures of a step, and the rate
    full: tuple[int, float]
    crowd: int
    captions: int


GPU = Pace(
    pictures=120_000, close_ups=8000, rough_pictures=20_000, small=(512, 3e-3), full=(192, 2e-3), crowd=6,
    captions=512,
)  # fmt: skip


def processor(minutes: float, processes: int) -> Pace:
    """The pace of so many processes of a processor: pictures are drawn in about a twentieth of `minutes`."""
    pictures = max(100, round(90.0 * minutes * processes))
    return Pace(
        pictures=pictures, close_ups=pictures // 7, rough_pictures=600 * processes,
        small=(32 * processes, 2e-3), full=(16 * processes, 1e-3), crowd=processes, captions=64 * processes,
    )  # fmt: skip


def timed_recipe(
    minutes: float, pace: Pace, *, start: str | None = None, autoencoder_from: str | None = None
) -> MiniRecipe:
    """The recipe for training for `minutes`; drawing and encoding the pictures come on top."""
    seconds = _seconds(60.0 * minutes, start, autoencoder_from)
    return MiniRecipe(
        start=start,
        autoencoder_from=autoencoder_from,
        autoencoder=replace(AUTOENCODER, steps=_NO_END, seconds=seconds["autoencoder"], learning_rate=8e-4),
        language=replace(LANGUAGE, steps=3000, seconds=seconds["language"]),
        lessons=(
            _small(pace.pictures, _NO_END, *pace.small, seconds["small"]),
            _full(pace.pictures, pace.close_ups, _NO_END, *pace.full, seconds["full"]),
        ),
        rough_pictures=pace.rough_pictures,
        decoder=replace(DECODER, steps=_NO_END, seconds=seconds["decoder"]),
        crowd=pace.crowd,
        captions=pace.captions,
    )


def _seconds(whole: float, start: str | None, autoencoder_from: str | None) -> dict[str, float]:
    """The seconds of each stage, `whole` together over those that are not taken from elsewhere."""
    shares = _SHARES if start is None else _SHARES_FROM
    if autoencoder_from:
        shares = {name: share for name, share in shares.items() if name != "autoencoder"}
    given = sum(shares.values())
    return {name: whole * shares.get(name, 0.0) / given for name in _SHARES}
