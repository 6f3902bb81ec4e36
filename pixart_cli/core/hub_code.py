"""No library loads compiled code from the hub: pictures are drawn by what was installed."""

from __future__ import annotations

import logging
import sys


def refuse_hub_code() -> None:
    """Let this process have no package `kernels`, and bitsandbytes say nothing but errors.

    bitsandbytes, which diffusers loads wherever it is installed, fetches kernels from the hub on some
    processors as soon as it is loaded, if that package is there, with `--offline` or without; else it warns.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # Python's word for "there is none"
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
