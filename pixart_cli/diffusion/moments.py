"""Mean and variance of a whole picture from its bands, and GroupNorm with them.

Numerically sound at any mean: every band is measured around its own mean in float32, and the bands are
put together in float64 with the term between their means (Chan, Golub, LeVeque 1983, "Algorithms for
computing the sample variance"). Averaging the bands' variances would drop that term.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn import functional

# Numbers brought to float32 at a time: what stays in a processor's cache, or what fills an accelerator.
_BLOCK: Final = 1 << 20
_BLOCK_ELSEWHERE: Final = 1 << 25


class Moments:
    """The statistics of a map of `height` rows with `channels`, band by band, each channel by itself.

    Kept in two tensors made beforehand: many small ones that outlive the bands' large ones would be
    scattered over the processor's heap, and keep it from shrinking and from being used again.
    """

    def __init__(self, height: int, channels: int, device: torch.device) -> None:
        self._counts: list[int] = []
        self._means = torch.empty((height, channels), device=device)
        self._deviations = torch.empty((height, channels), device=device)

    @property
    def device(self) -> torch.device:
        """Where the map is computed."""
        return self._means.device

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, rows: torch.Tensor) -> None:
        """Measure the next band, (n, W, C) of any float type."""
        band = len(self)
        count, self._means[band], self._deviations[band] = _measure(rows)
        self._counts.append(count)

    def cut(self, bands: int) -> None:
        """Forget all but the first `bands`."""
        del self._counts[bands:]

    def of_groups(self, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and biased variance of each group of channels over the whole map, float64 (groups,) each."""
        counts = torch.tensor(self._counts, dtype=torch.float64)[:, None, None]
        means, deviations = (
            kept[: len(self)].cpu().double().unflatten(1, (groups, -1))
            for kept in (self._means, self._deviations)
        )
        total = counts.sum() * means.shape[2]
        mean = (counts * means).sum(dim=(0, 2)) / total
        between = counts * (means - mean[:, None]).square()
        return mean, (deviations + between).sum(dim=(0, 2)) / total


def _measure(rows: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Count, mean and summed squared deviations from it, float32 (C,), a block of rows at a time."""
    flat = rows.reshape(-1, rows.shape[-1])
    if rows.device.type != "cpu":
        return _measure_elsewhere(flat)
    mean = flat.sum(dim=0, dtype=torch.float32) / len(flat)
    deviations = torch.zeros_like(mean)
    for block in flat.split(max(1, _BLOCK // flat.shape[1])):
        deviations += (block.float() - mean).square_().sum(dim=0)
    return len(flat), mean, deviations


def _measure_elsewhere(flat: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """As :func:`_measure` of (N, C): each number is read twice, where the processor's cache would serve it.

    torch's own variance is numerically sound (Welford); blocks are put together as bands are.
    """
    count, mean, deviations = 0, flat.new_zeros(()), flat.new_zeros(())
    for block in flat.split(max(1, _BLOCK_ELSEWHERE // flat.shape[1])):
        variance, own = torch.var_mean(block.float(), dim=0, correction=0)
        share = len(block) / (count + len(block))
        between = (own - mean).square() * (count * share)
        deviations = deviations + variance * len(block) + between
        mean = mean + (own - mean) * share
        count += len(block)
    return count, mean, deviations


class Normaliser:
    """`norm` (a GroupNorm) with the `moments` of the whole picture, then `activation`, if any.

    Called with (1, C, n, W) on the device of `norm`, gives a new tensor of the same shape and type;
    the arithmetic is float32.
    """

    def __init__(self, norm: Any, moments: Moments, activation: torch.nn.Module | None) -> None:
        each = norm.num_channels // norm.num_groups
        mean, variance = (
            value.repeat_interleave(each).float().to(moments.device)
            for value in moments.of_groups(norm.num_groups)
        )
        self._mean, self._variance, self._eps = mean, variance, float(norm.eps)
        self._weight = torch.ones_like(mean) if norm.weight is None else norm.weight.float()
        self._bias = torch.zeros_like(mean) if norm.bias is None else norm.bias.float()
        self._activation = activation

    def __call__(self, piece: torch.Tensor) -> torch.Tensor:  # noqa: D102 - the class says it
        normal = self._normalise(piece)
        if self._activation is None:
            return normal
        if isinstance(self._activation, torch.nn.SiLU):
            return functional.silu(normal, inplace=True)
        return self._activation(normal)  # type: ignore[no-any-return]

    def _normalise(self, piece: torch.Tensor) -> torch.Tensor:
        """Batch norm's inference is this in one pass, but is not known to mix precisions everywhere."""
        if piece.device.type not in {"cpu", "cuda"} and piece.dtype is not torch.float32:
            return self.spelled_out(piece)
        return functional.batch_norm(
            piece, self._mean, self._variance, self._weight, self._bias, training=False, eps=self._eps
        )

    def spelled_out(self, piece: torch.Tensor) -> torch.Tensor:
        """The norm alone, from elementary operations in float32."""
        scale = (self._variance + self._eps).rsqrt() * self._weight
        shift = self._bias - self._mean * scale
        return torch.addcmul(shift[:, None, None], piece.float(), scale[:, None, None]).to(piece.dtype)
