"""The parts of an SD-family autoencoder as passes over bands, each between two statistics of the whole.

A GroupNorm needs the whole map before its first row can be computed, so a residual block is two sweeps:
input → hidden, hidden → output. Everything else about a row is local: a 3x3 convolution reads one row
more above and below, and zero rows stand outside the picture only, after norm and activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from pixart_cli.diffusion.bands import Rows
from pixart_cli.diffusion.moments import Normaliser
from pixart_cli.diffusion.sweep import Store

Prepare = Callable[[torch.Tensor], torch.Tensor]


class Convolution:
    """A Conv2d over bands. `padding` is (left, right, top, bottom) zeros around the picture."""

    def __init__(self, conv: torch.nn.Conv2d, padding: tuple[int, int, int, int] | None = None) -> None:
        tall, wide = (int(size) for size in conv.padding)
        self.weight = conv.weight.contiguous(memory_format=torch.channels_last)
        self.bias = conv.bias
        self.stride = conv.stride[0]
        self.kernel: tuple[int, int] = (conv.kernel_size[0], conv.kernel_size[1])
        self.left, self.right, self.top, self.bottom = padding or (wide, wide, tall, tall)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the map it makes of one of `height` x `width`."""
        tall = (height + self.top + self.bottom - self.kernel[0]) // self.stride + 1
        return tall, (width + self.left + self.right - self.kernel[1]) // self.stride + 1

    def rows(self, source: Rows, start: int, stop: int, prepare: Prepare | None = None) -> torch.Tensor:
        """Output rows `start` to `stop`, (1, C, n, W), from `source` after `prepare`."""
        first = start * self.stride - self.top
        last = (stop - 1) * self.stride - self.top + self.kernel[0]
        piece = source.read(max(first, 0), min(last, source.height))
        if prepare is not None:
            piece = prepare(piece)
        even = self.left == self.right
        sides = (0, 0) if even else (self.left, self.right)
        around = (*sides, max(-first, 0), max(last - source.height, 0))
        if any(around):
            piece = functional.pad(piece, around)
        padding = (0, self.left if even else 0)
        return functional.conv2d(piece, self.weight, self.bias, stride=self.stride, padding=padding)


@dataclass(frozen=True)
class Filter:
    """A stage: [norm → activation →] one convolution, of any stride and padding."""

    conv: torch.nn.Conv2d
    padding: tuple[int, int, int, int] | None = None
    norm: torch.nn.GroupNorm | None = None
    activation: torch.nn.Module | None = None

    def held(self, height: int, width: int) -> tuple[int, int, int]:
        """Height and width after it, and the numbers held at most while it runs."""
        tall, wide = Convolution(self.conv, self.padding).size(height, width)
        before, after = self.conv.in_channels * height * width, self.conv.out_channels * tall * wide
        return tall, wide, max(before, after)

    def run(self, source: Rows, store: Store) -> Rows:
        """The stage's output; `source` is released."""
        kernel = Convolution(self.conv, self.padding)
        prepare = None if self.norm is None else Normaliser(self.norm, source.moments, self.activation)
        height, width = kernel.size(source.height, source.width)
        output = store.rows(height, width, self.conv.out_channels)
        widest = max(source.width * source.channels * kernel.stride, width * output.channels)
        store.sweep(
            height, widest, lambda a, b: [kernel.rows(source, a, b, prepare)], into=[output],
            spent={source: lambda stop: stop * kernel.stride - kernel.top},
        )  # fmt: skip
        return output


@dataclass(frozen=True)
class Residual:
    """A stage: a ResnetBlock2D without time embedding."""

    block: Any

    @property
    def _early(self) -> bool:
        """Whether the shortcut is convolved with the input at hand: when that leaves less to keep."""
        conv = self.block.conv_shortcut
        return conv is not None and conv.out_channels < conv.in_channels

    def held(self, height: int, width: int) -> tuple[int, int, int]:
        """Height and width after it, and the numbers held at most while it runs."""
        before, after = self.block.conv1.in_channels, self.block.conv2.out_channels
        kept = after if self._early else before
        return height, width, max(before, kept + after) * height * width

    def run(self, source: Rows, store: Store) -> Rows:
        """The stage's output; `source` is released row by row."""
        hidden, carried = self._first(source, store)
        block = self.block
        kernel = Convolution(block.conv2)
        shortcut = None if self._early or block.conv_shortcut is None else Convolution(block.conv_shortcut)
        prepare = Normaliser(block.norm2, hidden.moments, block.nonlinearity)
        scale = float(block.output_scale_factor)
        output = store.rows(source.height, source.width, block.conv2.out_channels)

        def work(start: int, stop: int) -> Sequence[torch.Tensor]:
            piece = kernel.rows(hidden, start, stop, prepare)
            piece += carried.read(start, stop) if shortcut is None else shortcut.rows(carried, start, stop)
            return [piece if scale == 1.0 else piece.div_(scale)]

        widest = source.width * max(hidden.channels, carried.channels, output.channels)
        store.sweep(
            source.height,
            widest,
            work,
            into=[output],
            spent={hidden: lambda stop: stop - 1, carried: lambda stop: stop},
        )
        return output

    def _first(self, source: Rows, store: Store) -> tuple[Rows, Rows]:
        """conv1(act(norm1(source))), and what the shortcut will need: the source, or the shortcut of it."""
        block = self.block
        kernel = Convolution(block.conv1)
        prepare = Normaliser(block.norm1, source.moments, block.nonlinearity)
        hidden = store.rows(source.height, source.width, block.conv1.out_channels)
        widest = source.width * max(source.channels, hidden.channels)
        if not self._early:
            store.sweep(
                source.height, widest, lambda a, b: [kernel.rows(source, a, b, prepare)], into=[hidden]
            )
            return hidden, source
        shortcut = Convolution(block.conv_shortcut)
        carried = store.rows(source.height, source.width, block.conv_shortcut.out_channels)
        store.sweep(
            source.height, widest,
            lambda a, b: [kernel.rows(source, a, b, prepare), shortcut.rows(source, a, b)],
            into=[hidden, carried], spent={source: lambda stop: stop - 1},
        )  # fmt: skip
        return hidden, carried


@dataclass(frozen=True)
class Doubling:
    """A stage: nearest-neighbour enlargement to twice the size and a 3x3 convolution, as one.

    Of the nine pixels that a 3x3 kernel sees after enlargement only four differ, so each of the four
    output pixels that share a source pixel is a 2x2 convolution of the source, its weights the sums of
    those that meet the same pixel: 4/9 of the work, and the enlarged map never exists.
    """

    conv: torch.nn.Conv2d

    def held(self, height: int, width: int) -> tuple[int, int, int]:
        """Height and width after it, and the numbers held at most while it runs."""
        numbers = max(self.conv.in_channels, 4 * self.conv.out_channels) * height * width
        return 2 * height, 2 * width, numbers

    def run(self, source: Rows, store: Store) -> Rows:
        """The stage's output; `source` is released row by row."""
        kernels = [(dy, dx, _phase(self.conv.weight, dy, dx)) for dy in (0, 1) for dx in (0, 1)]
        output = store.rows(2 * source.height, 2 * source.width, self.conv.out_channels)

        def work(start: int, stop: int) -> Sequence[torch.Tensor]:
            piece = source.read(max(start - 1, 0), min(stop + 1, source.height))
            outside = (int(start == 0), int(stop == source.height))
            if any(outside):
                piece = functional.pad(piece, (0, 0, *outside))
            tall, wide = stop - start, source.width
            doubled = piece.new_empty((1, 2 * tall, 2 * wide, output.channels)).permute(0, 3, 1, 2)
            for dy, dx, weight in kernels:
                window = piece[:, :, dy : dy + tall + 1]
                phase = functional.conv2d(window, weight, self.conv.bias, padding=(0, 1))
                doubled[:, :, dy::2, dx::2] = phase[:, :, :, dx : dx + wide]
            return [doubled]

        widest = source.width * max(source.channels, 4 * output.channels)
        store.sweep(source.height, widest, work, into=[output], spent={source: lambda stop: stop - 1})
        return output


def _phase(weight: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """The 2x2 kernel of the output pixels at (dy, dx) of each 2x2 block, from `weight` (O, I, 3, 3)."""
    kernel = weight.float()
    for dim, late in ((2, dy), (3, dx)):
        first, middle, last = kernel.split(1, dim)
        kernel = torch.cat((first + middle, last) if late else (first, middle + last), dim)
    return kernel.to(weight.dtype).contiguous(memory_format=torch.channels_last)
