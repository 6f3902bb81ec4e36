"""Close-ups: a part of a larger picture, the same for the same seed, and lively."""

from random import Random

import numpy as np

from pixart_cli.diffusion.posters.draw import draw
from pixart_cli.diffusion.posters.scene import Group, Shapes, sample_scene
from pixart_cli.features.train.close_ups import close_up

SQUARE = Shapes(background="white", groups=(Group(kind="square", count=1, colour="navy", place="center"),))


def test_equal_seeds_give_equal_parts() -> None:
    scene = sample_scene(Random(1))
    first, again, other = (close_up(scene, 64, 48, seed=seed) for seed in (3, 3, 4))
    assert first.size == (64, 48)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_edges_are_as_sharp_as_in_a_whole_picture() -> None:
    """A part is drawn large, not enlarged: between two inks lie one or two pixels."""
    for seed in range(8):
        part = np.asarray(close_up(SQUARE, 64, 64, seed=seed), np.float32).mean(axis=2)
        steps = np.abs(np.diff(part, axis=1)).max(), np.abs(np.diff(part, axis=0)).max()
        if part.std() > 20:
            assert max(steps) > 60


def test_it_shows_less_than_the_whole() -> None:
    whole = np.asarray(draw(SQUARE, 64, 64, seed=0), np.float32)
    parts = [np.asarray(close_up(SQUARE, 64, 64, seed=seed), np.float32) for seed in range(12)]
    ink_whole = (whole.mean(axis=2) < 128).mean()
    shares = [(part.mean(axis=2) < 128).mean() for part in parts]
    assert max(shares) > 1.5 * ink_whole
