"""A feature map kept as bands of rows, each of them on the device, in pinned memory or in a file.

Rows are stored (n, W, C): a band is one run of memory whatever its height, and convolutions read it as
it is, in torch's channels-last format.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch

from pixart_cli.diffusion.moments import Moments
from pixart_cli.diffusion.spill import MappedFile, Mapping, Place


@dataclass
class _Band:
    """Rows `start` to `stop`: (n, W, C) in `rows`, or in `mapping`, or, once released, in neither."""

    start: int
    stop: int
    rows: torch.Tensor | None
    mapping: Mapping | None = None


class Rows:
    """One feature map of `height` x `width` with `channels`, filled from the top, kept at `place`.

    Attributes:
        moments: the statistics of all rows put, released or not.
    """

    def __init__(self, place: Place, height: int, width: int, channels: int) -> None:
        self.place, self.height, self.width, self.channels = place, height, width, channels
        self.moments = Moments(height, channels, place.device)
        self._bands: list[_Band] = []
        self._mappings: dict[str, Mapping] = {}

    @property
    def filled(self) -> int:
        """Rows put so far."""
        return self._bands[-1].stop if self._bands else 0

    def put(self, piece: torch.Tensor) -> None:
        """The next rows, (1, C, n, W); they are measured on the way."""
        rows = piece[0].permute(1, 2, 0).contiguous()
        start = self.filled
        band = _Band(start, start + len(rows), rows)
        self._keep(band)
        self.moments.add(rows)
        self._bands.append(band)

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` on the place's device, (1, C, n, W); not to be written to."""
        bands = [band for band in self._bands if band.stop > start and band.start < stop]
        pieces = []
        for mapping, group in groupby(bands, lambda band: band.mapping):
            run = list(group)
            if mapping is None:
                pieces += [self._bring(band, max(start, band.start), min(stop, band.stop)) for band in run]
            else:
                pieces.append(self._fetch(mapping, max(start, run[0].start), min(stop, run[-1].stop)))
        rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return rows.permute(2, 0, 1)[None]

    def release(self, before: int) -> None:
        """Give back the bands that lie above row `before`."""
        for band in self._bands:
            if band.stop <= before:
                if band.mapping is not None:
                    band.mapping.forget(*self._span(band.start, band.stop))
                band.rows = band.mapping = None

    def cut(self, filled: int) -> None:
        """Undo every `put` past the first `filled` rows."""
        while self.filled > filled:
            self._bands.pop()
        self.moments.cut(len(self._bands))

    def move(self) -> None:
        """Bring every band to the place's tier of now."""
        for band in self._bands:
            self._keep(band)

    def pour(self, result: torch.Tensor) -> None:
        """Copy the map into `result` (1, C, H, W), releasing each band that is copied."""
        for band in self._bands:
            result[:, :, band.start : band.stop] = self.read(band.start, band.stop)
            self.release(band.stop)

    def _keep(self, band: _Band) -> None:
        """Bring `band` to the place's tier, if it is not there."""
        place, before = self.place, band.mapping
        released = band.rows is None and before is None
        if released or (place.tier == "device" and place.device.type != "cpu"):
            return
        if place.tier == "pinned" and place.device.type == "cuda":
            rows = self._rows(band)
            band.rows = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True).copy_(rows)
            return
        mapping = self._mapping()
        if before is mapping:
            return
        rows = self._rows(band)
        self._view(mapping, band.start, band.stop).copy_(rows)
        band.rows, band.mapping = None, mapping
        if before is not None:
            before.forget(*self._span(band.start, band.stop))
        if isinstance(mapping, MappedFile):
            mapping.settle(*self._span(band.start, band.stop))

    def _mapping(self) -> Mapping:
        """Room for the whole map in the place's tier."""
        tier = self.place.tier
        if tier not in self._mappings:
            kind = MappedFile if tier == "mapped" else Mapping
            self._mappings[tier] = kind(self._span(0, self.height)[1])
        return self._mappings[tier]

    def _rows(self, band: _Band) -> torch.Tensor:
        """(n, W, C), wherever it lies."""
        if band.mapping is not None:
            return self._view(band.mapping, band.start, band.stop)
        if band.rows is None:
            raise RuntimeError(f"rows {band.start} to {band.stop} were released")
        return band.rows

    def _bring(self, band: _Band, start: int, stop: int) -> torch.Tensor:
        """Rows of a band that lies on the device or in pinned memory."""
        rows = self._rows(band)[start - band.start : stop - band.start]
        return rows.to(self.place.device, non_blocking=True)

    def _fetch(self, mapping: Mapping, start: int, stop: int) -> torch.Tensor:
        """Rows that lie in `mapping`: where they are, or out of a file, which is left at once."""
        rows = self._view(mapping, start, stop)
        if not isinstance(mapping, MappedFile):
            return rows.to(self.place.device)
        copy = rows.to(self.place.device, copy=True)
        mapping.settle(*self._span(start, stop))
        return copy

    def _view(self, mapping: Mapping, start: int, stop: int) -> torch.Tensor:
        shape = (stop - start, self.width, self.channels)
        return mapping.tensor(start * self.width * self.channels, shape, self.place.dtype)

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        """Where rows `start` to `stop` are in the file, in bytes."""
        row_bytes = self.width * self.channels * self.place.dtype.itemsize
        return start * row_bytes, stop * row_bytes
