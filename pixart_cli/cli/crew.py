"""Several processes that torchrun started on one command line: the first runs it, the others help it draw."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from pixart_cli.cli.failure import as_error
from pixart_cli.cli.signals import leave_quietly, watched
from pixart_cli.core.crew import Place, place
from pixart_cli.core.errors import PixartError

# Commands that every process runs for itself: they have their own way to work together.
_OWN_WAY: Final = ("train",)


def run_together(words: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    """The exit code of `run` over `words`, which the first of all processes alone runs. All end with it."""
    here = place(os.environ)
    command = next((word for word in words if not word.startswith("-")), "")
    if here.alone or command in _OWN_WAY:
        return run(words)
    return _lead(here, words, run) if here.leads else _assist(here)


def _lead(here: Place, words: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    code = run(words)
    # The code is decided. torchrun, which ends all as soon as one has ended, must not change it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_quietly()
    from pixart_cli.diffusion.crew import join

    with contextlib.suppress(PixartError):
        join(here).dismiss(code)
    return code


def _assist(here: Place) -> int:
    """Help until dismissed, and say nothing: what goes wrong here the first process reports."""
    with watched() as watch:
        try:
            from pixart_cli.diffusion.crew import join
            from pixart_cli.diffusion.helper import assist

            return assist(join(here))
        except BaseException as failure:  # noqa: BLE001 -- becomes the exit code, whatever it is
            return as_error(watch.ended_by or failure).exit_code
