"""Processes of tests: how long they are waited for, and where several of them meet."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

# Seconds after which a process is given up: a guard, well over what any of them needs on a busy machine.
PATIENCE = 500
# Below the ports that systems give to whoever asks for any: none of these is taken by a connection meanwhile.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of the loopback that nobody listens at, for processes that take seconds to begin to."""
    chance = random.Random(f"{os.getpid()} {os.urandom(8).hex()}")
    while True:
        port = chance.choice(PORTS)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def abandoned(place: Path, *, folder: bool = False) -> Path:
    """An unfinished file, or a folder, of a process that is gone."""
    made = "mkdtemp(" if folder else "mkstemp("
    code = (
        "import tempfile; from pixart_cli.core.unfinished import prefix, SUFFIX\n"
        f"made = tempfile.{made}prefix=prefix(), suffix=SUFFIX, dir={str(place)!r})\n"
        "print(made if isinstance(made, str) else made[1])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
