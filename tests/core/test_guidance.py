"""How many steps are guided."""

import pytest

from pixart_cli.core.guidance import guided_steps, made_steps


@pytest.mark.parametrize(
    ("until", "total", "skipped", "guided"),
    [
        (1.0, 20, 0, 20), (0.7, 20, 0, 14), (0.29, 100, 0, 29), (0.5, 7, 0, 3), (0.0, 20, 0, 0),
        (0.7, 1, 0, 1), (0.01, 20, 0, 1),  # what is guided at all is guided once
        (0.7, 12, 8, 6), (0.7, 6, 14, 0), (0.7, 1, 19, 0), (1.0, 6, 14, 6),  # from a picture
    ],
)  # fmt: skip
def test_the_first_share_of_the_whole_walk(until: float, total: int, skipped: int, guided: int) -> None:
    assert guided_steps(until, total, skipped=skipped) == guided


@pytest.mark.parametrize(
    ("total", "strength", "made"), [(20, 1.0, 20), (20, 0.6, 12), (20, 0.001, 1), (1, 0.5, 1)]
)
def test_from_a_picture_fewer_steps_are_made(total: int, strength: float, made: int) -> None:
    assert made_steps(total, strength) == made
