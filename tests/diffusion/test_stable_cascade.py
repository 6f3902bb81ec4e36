"""The sizes that Stable Cascade can draw; what it draws is in `test_peers.py`."""

import math

from pixart_cli.core.resolution import bins
from pixart_cli.diffusion.stable_cascade import even


def test_every_size_is_near_a_trained_one_and_can_be_halved_four_times() -> None:
    for height, width in bins(1024):
        wide, tall = even(width, height)
        assert abs(wide - width) <= 64
        assert abs(tall - height) <= 64
        small = [math.ceil(side / 42.67) for side in (tall, wide)]
        assert [int(side * 10.67) * 4 for side in small] == [tall, wide]
        assert all(int(side * 10.67) % 16 == 0 for side in small)
    assert even(1024, 1024) == (1024, 1024)
    assert even(30, 64) == (128, 128)
