"""Ctrl-C and SIGTERM: the first is raised where the program stands, the second ends it at once.

Who has something to finish first says so, and asks at its leisure.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_SHOW_CURSOR: Final = b"\x1b[?25h"  # a progress bar had hidden it
_ENDING: Final = {
    number: code
    for name, code in (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143))
    if (number := getattr(signal, name, None)) is not None
}


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised in the main thread so that unfinished files are removed."""


class Watch:
    """What the handlers saw. `ended_by` is the exception of the first signal, None before it.

    A library that is interrupted while it is imported or called back may raise something else instead: it is
    the signal all the same that ended the command.
    """

    def __init__(self) -> None:
        self.ended_by: BaseException | None = None
        self._deferred = False
        self._told = b""

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Raise the exception of signal `number` where the program stands, or keep it for :meth:`check`."""
        self.ended_by = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        if not self._deferred:
            raise self.ended_by
        with contextlib.suppress(OSError):
            os.write(2, self._told)  # a handler may stand inside another write: no stream is used

    def check(self) -> None:
        """Raise what :meth:`handle` kept, if there was a signal."""
        if self.ended_by is not None:
            raise self.ended_by

    @contextlib.contextmanager
    def deferred(self, told: str = "") -> Iterator[None]:
        """Within, the first signal raises nothing; `told` is said on standard error; see :meth:`check`."""
        self._told = told.encode()
        with self._set(deferred=True):
            yield
        self.check()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, the first signal is raised again where the program stands: it may wait there for long."""
        self.check()
        with self._set(deferred=False):
            yield

    @contextlib.contextmanager
    def _set(self, *, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Within, SIGINT raises KeyboardInterrupt and SIGTERM `Terminated`; a second of either exits at once.

    A long computation outside Python delays the first until it returns. The second is therefore seen by
    a thread that waits on the interpreter's wake-up descriptor. Signals that were ignored stay ignored.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    reader, writer = _pipe()
    kept = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in kept.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch.handle)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_at_second, args=(reader,), daemon=True).start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in kept.items():
            signal.signal(number, handler)
        os.close(writer)


def leave_quietly() -> None:
    """From here on Ctrl-C ends the process without a word, also while Python takes itself apart."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _pipe() -> tuple[int, int]:
    """The ends of a pipe; the second, which the interpreter writes to, never makes it wait."""
    reader, writer = os.pipe()
    if sys.platform != "win32":  # where nothing but a pipe's size says so
        os.set_blocking(writer, False)
    return reader, writer


def _end_at_second(reader: int) -> None:
    seen = 0
    try:
        while byte := os.read(reader, 1):
            seen += byte[0] in _ENDING
            if seen == 2:
                _leave(_ENDING[byte[0]])
    finally:
        os.close(reader)


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR + b"\n")
    os._exit(code)
