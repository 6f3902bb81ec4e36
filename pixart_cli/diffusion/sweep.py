"""The sweep that computes one feature map from another band by band, and goes on when memory runs out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import torch

from pixart_cli.diffusion.bands import Rows
from pixart_cli.diffusion.memory import is_out_of_memory, return_unused
from pixart_cli.diffusion.spill import Place, lower_tier

# A processor gains nothing from more; an accelerator wants to be filled.
_BAND_BYTES: Final = {"cpu": 8 << 20}
_BAND_BYTES_ELSEWHERE: Final = 64 << 20
_T = TypeVar("_T")


class Store:
    """Holds maps of `dtype` for `device` in `tier`, and steps down a tier when memory runs out.

    Args:
        band: rows computed at once, at every size of map; None takes as many as fill a fixed number of
            bytes, which depends on the map's shape alone, so that a picture is always computed alike.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, tier: str, band: int | None = None) -> None:
        self.place = Place(device, dtype, tier)
        self._band = band
        self._halvings = 0
        self._maps: weakref.WeakSet[Rows] = weakref.WeakSet()

    def rows(self, height: int, width: int, channels: int) -> Rows:
        """An empty map, to be taken along when stepping down."""
        rows = Rows(self.place, height, width, channels)
        self._maps.add(rows)
        return rows

    def empty(self, *size: int) -> torch.Tensor:
        """A tensor on the device itself."""
        place = self.place
        return self.attempt(lambda: torch.empty(size, dtype=place.dtype, device=place.device))

    def whole(self, rows: Rows) -> torch.Tensor:
        """The map as one tensor (1, C, H, W) on the device; `rows` is released."""
        result = self.empty(1, rows.channels, rows.height, rows.width)
        rows.pour(result)
        return result

    def sweep(
        self,
        height: int,
        row_numbers: int,
        work: Callable[[int, int], Sequence[torch.Tensor]],
        *,
        into: Sequence[Rows] = (),
        spent: dict[Rows, Callable[[int], int]] | None = None,
    ) -> None:
        """Do `work` on rows 0 to `height`, a band at a time, and put what it returns.

        Args:
            row_numbers: numbers that one row is in the widest map taking part; decides the band's height.
            work: given (start, stop), returns one (1, C, n, W) for each of `into`; done again, perhaps on
                fewer rows, when memory runs out.
            spent: maps that are needed no more above a certain row, a function of the band's `stop`.
        """
        start = 0
        while start < height:
            stop = min(start + self._height(row_numbers), height)
            filled = [rows.filled for rows in into]
            trouble = _trouble(partial(_do, work, start, stop, into))
            if trouble is not None:
                for rows, before in zip(into, filled, strict=True):
                    rows.cut(before)
                self._make_room(trouble, band=stop - start)
                continue
            start = stop
            for rows, first in (spent or {}).items():
                rows.release(rows.height if stop == height else first(stop))

    def attempt(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done again a tier lower each time memory runs out."""
        results: list[_T] = []
        while (trouble := _trouble(lambda: results.append(work()))) is not None:
            self._make_room(trouble, band=1)
        return results[0]

    def _height(self, row_numbers: int) -> int:
        room = _BAND_BYTES.get(self.place.device.type, _BAND_BYTES_ELSEWHERE)
        height = self._band or room // (row_numbers * self.place.dtype.itemsize)
        return max(1, height >> self._halvings)

    def _make_room(self, trouble: str, band: int) -> None:
        """Step down a tier, or else halve the bands.

        Raises:
            torch.OutOfMemoryError: when neither is possible.
        """
        if not self._step_down():
            if band == 1:
                raise torch.OutOfMemoryError(
                    f"memory ran out on {self.place.device}, a row at a time: {trouble}"
                )
            self._halvings += 1
        return_unused(self.place.device.type)

    def _step_down(self) -> bool:
        """Move every map to the next tier that takes them; False below the last."""
        while (lower := lower_tier(self.place.device, self.place.tier)) is not None:
            self.place.tier = lower
            if _trouble(self._move) is None:
                return True
        return False

    def _move(self) -> None:
        for rows in self._maps:
            rows.move()


def _do(
    work: Callable[[int, int], Sequence[torch.Tensor]], start: int, stop: int, into: Sequence[Rows]
) -> None:
    for rows, piece in zip(into, work(start, stop), strict=True):
        rows.put(piece)


def _trouble(work: Callable[[], object]) -> str | None:
    """Do `work`; None, or the words of the error if memory ran out.

    Words only: the error itself would keep every tensor of its frames alive.
    """
    try:
        work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error) or "no memory"
    return None
