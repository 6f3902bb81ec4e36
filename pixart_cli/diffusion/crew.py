"""The processes that draw one picture together: orders, and the news that one has failed.

Process 0 leads: it alone knows what was typed, and sends every other an order for each picture. Orders and
failures go through torchrun's store, so they arrive whatever the tensors' connections are doing. Trouble is
everyone's: whoever fails says so in the store, and who waits for it looks there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from pixart_cli.core.crew import Place
from pixart_cli.core.errors import ERRORS, PixartError
from pixart_cli.diffusion.links import HINT, PATIENCE, Links
from pixart_cli.diffusion.memory import is_out_of_memory
from pixart_cli.diffusion.pulse import Pulse

_PAUSE: Final = 0.02
_FAREWELL: Final = 5.0
_LOST: Final = "process-lost"


class Crew:
    """The processes as one of them, at `place`, sees them. They talk through `store`.

    Attributes:
        pulse: of all; this one's beats when it is started.
    """

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self._store = store
        self._orders = 0
        self._link_name = ""
        self._links = Links(place.rank, place.size, self.check)
        self.pulse = Pulse(place.rank, place.size, store)

    def send(self, order: dict[str, Any]) -> None:
        """Give all others the `order`, JSON data. The leader's."""
        if self._store.check([self._key("failed")]):
            self._links.close()
        self._orders += 1
        self._link_name = self._links.name or self._key("links")
        self._store.set(self._key("order"), json.dumps(order | {"links": self._link_name}))

    def receive(self) -> dict[str, Any]:
        """The leader's next order, whenever that comes; {"end": exit code} is the last.

        Raises:
            PixartError: "process-lost" when the leader is gone.
        """
        self._orders += 1
        self._wait(lambda: self._store.check([self._key("order")]), self._listen, patience=math.inf)
        order: dict[str, Any] = json.loads(self._store.get(self._key("order")))
        self._link_name = order["links"]
        return order

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Around the work on one order: a failure within is told to all, who then fail as well."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                self._store.compare_set(self._key("failed"), "", json.dumps(self._told(error)))
            self._links.close()
            raise

    def meet(self, device: str) -> Links:
        """Wait until all are ready for the order; the links to them, for tensors on `device`.

        Raises:
            PixartError: what another process reported, or "process-lost".
            MemoryError: when another has run out of memory.
        """
        if self._links.name == self._link_name:
            self._links.gather(torch.ones(1))  # whoever is gone is missed at once
            return self._links
        self._links.close()
        self._store.add(self._key("ready"), 1)
        self._wait(lambda: self._store.add(self._key("ready"), 0) >= self.place.size, self.check)
        self._links.open(self._link_name, self._store, device)
        return self._links

    def check(self) -> None:
        """Raise what another process has reported, if one has.

        Raises:
            PixartError: with its code and words.
            MemoryError: when it has run out of memory, which the leader may have an answer to.
        """
        with _reached():
            if self._store.check([self._key("failed")]):
                _raise(json.loads(self._store.get(self._key("failed"))))
            self._listen()

    def _listen(self) -> None:
        silent = self.pulse.silent()
        if silent is not None:
            raise PixartError(_LOST, f"process {silent} of {self.place.size} is not heard any more", HINT)

    def own_device(self, device: str) -> str:
        """This process's counterpart of the leader's `device`: every process has a GPU of its own.

        Raises:
            PixartError: "device-unavailable".
        """
        if not device.startswith("cuda"):
            return device
        own = f"cuda:{self.place.local_rank}"
        if self.place.leads and device != own:
            what = f"{device} is one GPU, and each of {self.place.size} processes needs its own"
            raise PixartError("device-unavailable", what, "Leave the number out.")
        if self.place.local_rank >= torch.cuda.device_count():
            what = f"process {self.place.rank} of {self.place.size} finds no {own} on its machine"
            raise PixartError("device-unavailable", what, "Start no more processes than there are GPUs.")
        return own

    def dismiss(self, code: int) -> None:
        """Let the others end with exit code `code`, and see them go if that does not take long."""
        with contextlib.suppress(RuntimeError):
            self.send({"end": code})
            until = time.monotonic() + _FAREWELL
            while self._store.add("gone", 0) < self.place.size - 1 and time.monotonic() < until:
                time.sleep(_PAUSE)
        self._links.close()

    def leave(self) -> None:
        """Say that this process needs the store no more."""
        self._links.close()
        with contextlib.suppress(RuntimeError):
            self._store.add("gone", 1)

    def _key(self, what: str) -> str:
        return f"{self._orders}/{what}"

    def _wait(
        self,
        there: Callable[[], bool],
        news: Callable[[], None],
        *,
        patience: float = PATIENCE.total_seconds(),
    ) -> None:
        until = time.monotonic() + patience
        with _reached():
            while not there():
                news()
                if time.monotonic() > until:
                    raise PixartError(_LOST, "a process that was to help is not ready after half an hour")
                time.sleep(_PAUSE)

    def _told(self, error: BaseException) -> dict[str, str]:
        """`error` in words that another process can raise again."""
        where = f"process {self.place.rank} of {self.place.size}"
        if isinstance(error, PixartError):
            return {"code": error.code, "message": error.message, "hint": error.hint}
        if is_out_of_memory(error):
            return {"code": "out-of-memory", "message": f"memory ran out in {where}"}
        if not isinstance(error, Exception):
            return {"code": "interrupted", "message": f"{where} was ended"}
        what = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error))
        return {"code": "bug", "message": f"a bug in pixart, in {where}: {what}", "trace": trace}


@functools.cache
def join(place: Place) -> Crew:
    """The crew that the environment describes, with this process at `place`; the same one every time.

    Raises:
        PixartError: "process-lost" when the others are not to be reached.
    """
    with _reached():
        store = next(iter(rendezvous("env://", timeout=PATIENCE)))[0]
    crew = Crew(place, PrefixStore("pixart", store))
    crew.pulse.start()
    return crew


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Within, torch's error for a store that is gone is a lost process: it went with one."""
    try:
        yield
    except (distributed.DistError, ValueError) as error:
        raise PixartError(_LOST, "the other processes cannot be reached", HINT) from error


def _raise(told: dict[str, str]) -> NoReturn:
    code = told["code"] if told["code"] in ERRORS else "bug"
    if code == "out-of-memory":
        raise MemoryError(told["message"])
    error = PixartError(code, told["message"], told.get("hint", ""))
    if "trace" in told:
        error.add_note(told["trace"])
    raise error
