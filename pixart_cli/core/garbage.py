"""Python's search for garbage, told of libraries that make half a million objects and let go of none.

Searching through these takes a fifth of the time in which they are imported, and a while each time that a
network is freed and when the process ends.
"""

from __future__ import annotations

import gc
from functools import cache
from typing import Final

_NEW_OBJECTS: Final = 50_000  # with Python's own 700 there are a thousand searches while they are imported


def search_seldom() -> None:
    """From here on garbage is searched for after so many new objects only."""
    gc.set_threshold(_NEW_OBJECTS)


@cache
def set_libraries_apart() -> None:
    """What exists when this is first called is searched no more: libraries, before there is any network.

    Later calls do nothing, lest a network that nobody needs is set apart too and never freed.
    """
    gc.freeze()


def end_of_process() -> None:
    """What exists now is left to the system, which takes it back at once."""
    gc.freeze()
