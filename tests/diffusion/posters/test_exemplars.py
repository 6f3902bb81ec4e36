"""Exemplars: fresh drawings of things are recognised by comparison with others."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from pixart_cli.diffusion.posters.exemplars import _draw_alone, cut_by_hand, kind_of_outline
from pixart_cli.diffusion.posters.vocabulary import FAMILIES, THINGS

pytestmark = pytest.mark.exemplars


def look(kind: str, outline: np.ndarray) -> str:
    family = next(family for family in FAMILIES if kind in family)
    return kind_of_outline(outline, family)[0]


@pytest.mark.parametrize("kind", THINGS)
def test_things_are_recognised(kind: str) -> None:
    rng = Random(f"test {kind}")
    fresh = [o for o in (_draw_alone(kind, rng) for _ in range(14)) if o is not None]
    seen = [look(kind, o) for o in fresh]
    assert seen.count(kind) >= len(seen) - 1


@pytest.mark.parametrize("kind", ["moon", "boat"])
def test_things_are_recognised_in_a_mirror(kind: str) -> None:
    rng = Random(f"mirror {kind}")
    fresh = [o for o in (_draw_alone(kind, rng) for _ in range(14)) if o is not None]
    assert all(look(kind, o) == look(kind, o[:, ::-1]) == kind for o in fresh)


def test_noise_is_far_from_every_thing() -> None:
    noise = np.random.default_rng(1).random((16, 16), dtype=np.float32)
    assert all(kind_of_outline(noise, family)[1] > 0.3 for family in FAMILIES)


def test_outlines_cut_by_hand_stray_a_little_and_no_more() -> None:
    square = Image.new("RGB", (192, 192), "white")
    square.paste("navy", (60, 60, 130, 130))
    cut = cut_by_hand(square, Random(4))
    assert cut.size == square.size
    changed = np.argwhere((np.asarray(cut) != np.asarray(square)).any(axis=-1))
    assert len(changed)
    assert changed.min() > 40
    assert changed.max() < 150
    assert len(changed) < 0.35 * 70 * 70
