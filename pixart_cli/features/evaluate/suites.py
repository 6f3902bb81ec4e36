"""The suites there are, by name."""

from __future__ import annotations

from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.features.evaluate.captions import Captions
from pixart_cli.features.evaluate.mini import Mini
from pixart_cli.features.evaluate.suite import Suite

SUITES: Final[dict[str, Suite[Any]]] = {suite.name: suite for suite in (Mini(), Captions())}


def get_suite(name: str) -> Suite[Any]:
    """The suite called `name`.

    Raises:
        PixartError: "usage" naming those there are.
    """
    if name not in SUITES:
        raise PixartError("usage", f"there is no suite {name!r}", f"The suites: {', '.join(SUITES)}.")
    return SUITES[name]
