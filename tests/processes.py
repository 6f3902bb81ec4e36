"""Processes of tests: how long they are waited for, and where several of them meet."""

from __future__ import annotations

import os
import random
import socket

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
