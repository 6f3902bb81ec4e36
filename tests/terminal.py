"""A person at a terminal, for programs that ask."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def answer(arguments: tuple[str, ...], typed: bytes, **options: Any) -> tuple[int, str]:
    """The exit code of `pixart`, and what a person at a terminal saw who `typed` that; as `Popen` takes."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pixart_cli", *arguments],
        stdin=follower, stderr=follower, stdout=subprocess.DEVNULL, **options,
    )  # fmt: skip
    os.close(follower)
    os.write(leader, typed)
    seen = b""
    try:
        while block := os.read(leader, 4096):
            seen += block
    except OSError:  # the other side was closed
        pass
    os.close(leader)
    return process.wait(timeout=60), seen.decode()
