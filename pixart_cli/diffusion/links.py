"""Tensors from process to process: the collective operations that a shared forward needs, and no more.

NCCL between CUDA devices, gloo between all others. Nothing here waits blindly: while others are not ready,
`watch` is asked now and then whether one of them has failed, and a signal is heard.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore, Store

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.memory import is_out_of_memory

PATIENCE: Final = timedelta(minutes=30)
# Between two looks whether the others are there: a processor may be what they wait for, a GPU's is idle.
_PAUSE: Final = 0.0005
_WATCH_EVERY: Final = 0.1
# After a connection broke, how long the word of the failure behind it may take.
_LAST_WORDS: Final = 3.0

HINT: Final = "See what ended it; memory is the usual reason. Fewer processes, or one, draw the same picture."


class Links:
    """From process `rank` to all `size` of them. Usable between :meth:`open` and :meth:`close`.

    Args:
        watch: raises when another process is known to have failed.

    Attributes:
        name: what it was opened as, None while it is closed.
    """

    def __init__(self, rank: int, size: int, watch: Callable[[], None] = lambda: None) -> None:
        self.rank = rank
        self.size = size
        self.name: str | None = None
        self._watch = watch
        self._half: Any = None
        self._place = "cpu"
        self._pause = _PAUSE

    def open(self, name: str, store: Store, device: str) -> None:
        """Link up with all others, who must do the same, under `name`; tensors will be on `device`.

        Raises:
            PixartError: "process-lost" when they do not come.
        """
        nccl = device.startswith("cuda") and distributed.is_nccl_available()
        self._place, self._pause = (device, 0.0) if nccl else ("cpu", _PAUSE)
        if nccl:
            torch.cuda.set_device(device)
        with self._honest():
            distributed.init_process_group(
                "nccl" if nccl else "gloo", store=PrefixStore(name, store),
                rank=self.rank, world_size=self.size, timeout=PATIENCE,
            )  # fmt: skip
            self._half = self._halves()
        self.name = name

    def _halves(self) -> Any:
        """The group of the half that this process is in; every process has to make both."""
        half = self.size // 2
        if self.size % 2 or half == 1:
            return None
        groups = [distributed.new_group(list(range(first, first + half))) for first in (0, half)]
        return groups[self.rank // half]

    def close(self) -> None:
        """Let go of the others, also of those that are gone, and of what is still under way."""
        self.name = self._half = None
        if not distributed.is_initialized():
            return
        with contextlib.suppress(RuntimeError, ValueError):
            if distributed.get_backend() == "nccl":
                # Without this an unfinished operation would hold the device for ever.
                distributed.distributed_c10d._abort_process_group()  # noqa: SLF001 -- torch has no public one
        with contextlib.suppress(RuntimeError, ValueError):
            distributed.destroy_process_group()

    def gather(self, mine: Tensor, *, halves: bool = False) -> Tensor:
        """`mine` of every process, (processes, ...) in order of rank; of one's half with `halves`.

        All must give the same shape and precision. Bytes are moved, so nothing is rounded.

        Raises:
            PixartError: "process-lost", or what another process reported.
        """
        sent = mine.to(self._place).contiguous()
        size = self.size // 2 if halves else self.size
        whole = torch.empty((size, *sent.shape), dtype=sent.dtype, device=sent.device)
        if sent.numel():
            pieces = list(_bytes(whole))
            self._finish(
                lambda: distributed.all_gather(
                    pieces, _bytes(sent), group=self._half if halves else None, async_op=True
                )
            )
        return whole.to(mine.device)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """`tensor` of process 0; the others give one of the same shape and precision.

        Raises:
            PixartError: as :meth:`gather`.
        """
        sent = tensor.to(self._place).contiguous()
        self._finish(lambda: distributed.broadcast(_bytes(sent), src=0, async_op=True))
        return sent.to(tensor.device)

    def _finish(self, start: Callable[[], Any]) -> None:
        """Start an operation and wait for its end, in Python: torch's own wait hears no signal."""
        with self._honest():
            work = start()
            try:
                self._await(work)
            finally:
                # It keeps its connections open, on which others may wait: no traceback must hold it.
                del work

    def _await(self, work: Any) -> None:
        asked = time.monotonic()
        deadline = asked + PATIENCE.total_seconds()
        try:
            while not work.is_completed():
                time.sleep(self._pause)
                now = time.monotonic()
                if now > deadline:
                    raise _lost()
                if now - asked > _WATCH_EVERY:
                    asked = now
                    self._watch()
            work.wait()
        finally:
            del work

    @contextlib.contextmanager
    def _honest(self) -> Iterator[None]:
        """A broken connection is the failure of the process behind it, if that still reports one."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            until = time.monotonic() + _LAST_WORDS
            while time.monotonic() < until:
                self._watch()
                time.sleep(_WATCH_EVERY)
            raise _lost() from error


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.view(torch.uint8)


def _lost() -> PixartError:
    return PixartError(
        "process-lost",
        "one of the processes that draw together is gone, or did not answer",
        HINT,
    )
