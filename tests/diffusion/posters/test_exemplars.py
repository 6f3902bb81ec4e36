"""Exemplars: fresh drawings of things are recognised by comparison with others."""

from random import Random

import numpy as np
import pytest

from pixart_cli.diffusion.posters.exemplars import ALIKE, _draw_alone, kind_of_outline
from pixart_cli.diffusion.posters.vocabulary import THINGS

pytestmark = pytest.mark.exemplars


@pytest.mark.parametrize("kind", THINGS)
def test_things_are_recognised(kind: str) -> None:
    rng = Random(f"test {kind}")
    fresh = [o for o in (_draw_alone(kind, rng) for _ in range(14)) if o is not None]
    seen = [ALIKE.get(kind_of_outline(o)[0], kind_of_outline(o)[0]) for o in fresh]
    assert seen.count(ALIKE.get(kind, kind)) >= len(seen) - 1


@pytest.mark.parametrize("kind", ["moon", "boat"])
def test_things_are_recognised_in_a_mirror(kind: str) -> None:
    rng = Random(f"mirror {kind}")
    fresh = [o for o in (_draw_alone(kind, rng) for _ in range(14)) if o is not None]
    assert all(kind_of_outline(o)[0] == kind_of_outline(o[:, ::-1])[0] == kind for o in fresh)


def test_noise_is_far_from_every_thing() -> None:
    noise = np.random.default_rng(1).random((16, 16), dtype=np.float32)
    assert kind_of_outline(noise)[1] > 0.3
