"""Who of several processes is still there: each counts up in the store, and all look whether the others do.

For the times when no connection between them is in use, on which the end of one would be noticed at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_BEAT: Final = 2.0
# Long: a process that reads a library or a file may be deaf for a while, more so on a busy machine.
_SILENCE: Final = 120.0


class Pulse:
    """The pulse of process `rank` of `size`; `silence` is how many seconds of it mean that one is gone."""

    def __init__(self, rank: int, size: int, store: Store, *, silence: float = _SILENCE) -> None:
        self._rank = rank
        self._others = [other for other in range(size) if other != rank]
        self._store = store
        self._silence = silence
        self._heard: dict[int, tuple[bytes, float]] = {}
        self._looked = 0.0

    def start(self) -> None:
        """Beat from now on, in a thread that ends with the process."""
        threading.Thread(target=self._beat_on, daemon=True).start()

    def beat(self, count: int) -> None:
        """Beat once; every `count` is another."""
        self._store.set(f"pulse/{self._rank}", str(count))

    def _beat_on(self) -> None:
        count = 0
        with contextlib.suppress(RuntimeError):  # the store is gone: nobody is left to hear it
            while True:
                count += 1
                self.beat(count)
                time.sleep(_BEAT)

    def silent(self) -> int | None:
        """A process that was heard and is no more, or None. Looks at most once a beat."""
        now = time.monotonic()
        if now - self._looked < min(_BEAT, self._silence):
            return None
        self._looked = now
        for other in self._others:
            if self._store.check([f"pulse/{other}"]):
                count = self._store.get(f"pulse/{other}")
                before, since = self._heard.get(other, (b"", now))
                if count == before and now - since > self._silence:
                    return other
                self._heard[other] = (count, since if count == before else now)
        return None
