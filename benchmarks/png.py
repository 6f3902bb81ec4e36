"""Writing PNGs against Pillow's default: ratios of time and bytes, on pictures like those that are drawn.

    python benchmarks/png.py [--size 3840x2160] [--rounds 3] [PICTURE...]

Posters as the built-in model is taught to draw them, the same as a decoder leaves them (noise of one step;
native size with soft noise, enlarged), gradients, and a picture all of grain; then every PICTURE given.
Both ways write each picture in turn, and every file is decoded and compared. Time is the best of the rounds:
of the processor, in all threads together, and of the clock, which counts only where cores are idle.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pixart_cli.core.png import encode
from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Landscape, Scene, sample_scene


def scenes() -> dict[str, Scene]:
    """One scene of each kind, by name."""
    rng, found = Random(4), dict[str, Scene]()
    while len(found) < 3:
        scene = sample_scene(rng)
        found.setdefault(type(scene).__name__.lower(), scene)
    return found


def pictures(width: int, height: int) -> Iterator[tuple[str, Image.Image]]:
    """(name, picture), made one at a time."""
    rng = np.random.default_rng(0)
    drawn = scenes()
    for name, scene in drawn.items():
        poster = draw(scene, width, height, seed=1)
        yield f"poster, {name}", poster
        if isinstance(scene, Landscape):
            yield "the same with noise of one step", noisy(np.asarray(poster), rng)
            yield "the same, soft and enlarged", soft(scene, width, height, rng)
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    gradient = np.stack([200 - 120 * y + 20 * np.sin(3 * x), 120 + 60 * y, 90 + 50 * x], -1)
    yield "gradient", Image.fromarray(gradient.round().astype(np.uint8))
    yield "gradient with noise of one step", noisy(gradient, rng)
    yield "grain", Image.fromarray(grain(width, height, rng))


def noisy(pixels: Any, rng: np.random.Generator) -> Image.Image:
    """`pixels`, each off by -1, 0 or 1."""
    return Image.fromarray(
        np.clip(np.round(pixels + rng.integers(-1, 2, pixels.shape)), 0, 255).astype(np.uint8)
    )


def soft(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """The scene at a third of its size with noise, enlarged: what a model of 1024 pixels delivers at 4K."""
    small = np.asarray(draw(scene, width // 3, height // 3, seed=1))
    small = np.clip(np.round(small + rng.normal(0, 1.5, small.shape)), 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.LANCZOS)


def grain(width: int, height: int, rng: np.random.Generator) -> Any:
    """Clouds of a natural spectrum under the grain of a film."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    f[0, 0] = 1
    cloud = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / f**1.1, s=(height, width))
    pixels = 128 + 45 * (cloud / cloud.std())[..., None] + rng.normal(0, 2, (height, width, 3))
    return np.clip(pixels.round(), 0, 255).astype(np.uint8)


def by_pillow(image: Image.Image) -> bytes:
    """`image` as Pillow writes it by default."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def measured(write: Callable[[Image.Image], bytes], image: Image.Image) -> tuple[float, float, int]:
    """Seconds of the processor, seconds of the clock, bytes."""
    started = time.process_time(), time.perf_counter()
    data = write(image)
    took = time.process_time() - started[0], time.perf_counter() - started[1]
    with Image.open(io.BytesIO(data)) as back:
        if back.tobytes() != image.tobytes():
            raise SystemExit("the picture came back changed")
    return *took, len(data)


def report(name: str, image: Image.Image, rounds: int) -> None:
    """Print one line."""
    writers = by_pillow, lambda image: encode(image, [], dpi=None)
    taken = [[measured(write, image) for write in writers] for _ in range(rounds)]
    theirs, ours = (tuple(map(min, zip(*runs, strict=True))) for runs in zip(*taken, strict=True))
    print(
        f"{name:32}  Pillow {theirs[0]:6.3f} s CPU {theirs[2] / 1e6:6.2f} MB; ours {ours[0]:6.3f} s"
        f" {ours[2] / 1e6:6.2f} MB; {theirs[0] / ours[0]:5.1f}x CPU, {theirs[1] / ours[1]:5.1f}x clock,"
        f" {ours[2] / theirs[2]:.3f}x bytes",
        flush=True,
    )


def main() -> None:
    """Measure and print a line a picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    for name, image in pictures(width, height):
        report(name, image, options.rounds)
    for path in options.pictures:
        with Image.open(path) as image:
            report(path.rpartition("/")[2], image.convert("RGB"), options.rounds)


if __name__ == "__main__":
    main()
