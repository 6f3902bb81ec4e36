"""Detail beyond the trained size: latents noised a little and denoised in overlapping windows of that size.

Every forward sees what the network was trained on: its own number of tokens, its own positions. One noise
field and one solver go over the whole picture. In every step the predictions of all windows are averaged
(MultiDiffusion, Bar-Tal et al. 2023, arXiv 2302.08113, eq. 5) with weights that fall to a window's edge, and
the windows move from step to step, so that no place stays at an edge. Starting from a noised picture
instead of from noise is SDEdit (Meng et al. 2021, arXiv 2108.01073).

Shapes: latents (1, C, H, W); B guidance branches, negative first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from pixart_cli.diffusion.estimate import WINDOW_OVERLAP
from pixart_cli.diffusion.forward import Forward
from pixart_cli.diffusion.sampling import Guidance, StepCallback, denoise, micro_conditions

if TYPE_CHECKING:
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    from pixart_cli.diffusion.links import Links
    from pixart_cli.diffusion.schedulers import Tail

_TOKEN: Final = 2  # latents a side
_SIGMA: Final = 0.2  # of the Gaussian weights, in window sides: 4 % are left in the middle of an edge
# What the source says counts this much against a window's middle, where windows are left out.
_SOURCE_WEIGHT: Final = 0.05
# The plastic number's powers: the two-dimensional sequence of shifts that repeats latest (Roberts 2018).
_SHIFT: Final = (0.7548776662466927, 0.5698402909980532)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How one pass is done.

    Attributes:
        side: of a window, in latents: what the network was trained at.
        guidance_scale: as in `sampling.Guidance`.
        guidance_until: the same.
        flat: windows whose source nowhere changes by as much from latent to latent are left out; 0: none is.
    """

    side: int
    guidance_scale: float
    guidance_until: float = 1.0
    flat: float = 0.0


def refine(
    transformer: PixArtTransformer2DModel,
    tail: Tail,
    *,
    embeds: tuple[Tensor, ...],
    source: Tensor,
    how: Refinement,
    generator: torch.Generator,
    on_step: StepCallback,
    links: Links | None = None,
) -> Tensor:
    """`source` latents with detail drawn into them, float32.

    Args:
        embeds: `(prompt,)`, or `(negative, prompt)` for guidance, each (L, C).
        source: the enlarged picture, encoded and scaled, (1, C, H, W) with even sides.
        generator: draws the noise, on the CPU.
        on_step: told (done, total) after every step.
        links: to the processes that share the windows out, who do the same; the result is that of one.
    """
    device, dtype = source.device, transformer.dtype
    height, width = (min(how.side, side) for side in source.shape[-2:])
    told = micro_conditions(transformer, source[..., :height, :width], dtype)
    forward = Forward(transformer, [each.to(device, dtype) for each in embeds], told)
    noise = torch.randn(source.shape, generator=generator).to(device)
    return denoise(
        Windows(forward, source, how, tail.scheduler, links), tail.scheduler, tail.timesteps, dtype=dtype,
        latents=tail.scheduler.add_noise(source, noise, tail.timesteps[:1]),
        guidance=Guidance(scale=how.guidance_scale, branches=len(embeds), until=how.guidance_until),
        generator=generator if tail.stochastic else None, on_step=on_step,
    )  # fmt: skip


class Windows:
    """`forward` over a picture of any size, window by window; each call moves the windows.

    Windows in which the source is flat are left out: there the prediction is the one that gives the
    source back, so a plain sky costs nothing and stays plain.
    """

    def __init__(
        self, forward: Forward, source: Tensor, how: Refinement, scheduler: Any, links: Links | None = None
    ) -> None:
        self._links = links
        self._forward, self._source, self._scheduler = forward, source, scheduler
        self._window = tuple(min(how.side, side) for side in source.shape[-2:])
        self._weight = gaussian(self._window, source.device)
        self._detail = detail(source, how.flat) if how.flat > 0 else None
        self._calls = 0

    def __call__(self, latents_1CHW: Tensor, timestep: Tensor, *, branches: int) -> Tensor:
        """The weighted mean of all windows' predictions, (branches, C, H, W) float32."""
        channels, size = latents_1CHW.shape[1], latents_1CHW.shape[-2:]
        total = torch.zeros(branches, channels, *size, device=latents_1CHW.device)
        weight = torch.zeros(size, device=latents_1CHW.device)
        if self._detail is not None:
            total += _SOURCE_WEIGHT * self._back_to_source(latents_1CHW, timestep)
            weight += _SOURCE_WEIGHT
        parts = [
            (..., slice(top, top + self._window[0]), slice(left, left + self._window[1]))
            for top, left in self._places(size)
        ]
        for part, predicted in zip(
            parts, self._predicted(parts, latents_1CHW, timestep, branches), strict=True
        ):
            total[part] += self._weight * predicted
            weight[part] += self._weight
        self._calls += 1
        return total / weight

    def _predicted(
        self, parts: Sequence[Any], latents_1CHW: Tensor, timestep: Tensor, branches: int
    ) -> Iterator[Tensor]:
        """What the transformer says of each part, (branches, C, h, w) float32, in order.

        Several processes take turns with the parts, and each gets what the others computed.
        """
        channels = latents_1CHW.shape[1]

        def predict(part: Any) -> Tensor:
            return self._forward(latents_1CHW[part], timestep, branches=branches)[:, :channels].float()

        if self._links is None:
            yield from map(predict, parts)
            return
        size = self._links.size
        for start in range(0, len(parts), size):
            mine = parts[start + self._links.rank :][:1]
            own = predict(mine[0]) if mine else latents_1CHW.new_zeros(branches, channels, *self._window)
            yield from self._links.gather(own.float())[: len(parts) - start]

    def _places(self, size: Sequence[int]) -> Iterator[tuple[int, int]]:
        tops, lefts = (
            starts(length, window, self._calls * shift)
            for length, window, shift in zip(size, self._window, _SHIFT, strict=True)
        )
        for top in tops:
            for left in lefts:
                if self._wanted(top, left):
                    yield top, left

    def _wanted(self, top: int, left: int) -> bool:
        if self._detail is None:
            return True
        return bool(self._detail[top : top + self._window[0], left : left + self._window[1]].any())

    def _back_to_source(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """What a network would say that knew the source, in the scheduler's own terms."""
        at = timestep.round().long().cpu().clamp(0, len(self._scheduler.alphas_cumprod) - 1)
        kept = self._scheduler.alphas_cumprod[at].to(noisy.device, torch.float32)
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        said: dict[str, Tensor] = {
            "sample": self._source,
            "v_prediction": (alpha * noisy.float() - self._source) / sigma,
            "epsilon": (noisy.float() - alpha * self._source) / sigma,
        }
        return said[self._scheduler.config.prediction_type]


def starts(length: int, window: int, shift: float) -> list[int]:
    """Where windows begin along a side of `length` latents: first and last at its ends, the others moved
    together by `shift`, whose fraction counts, as far as an eighth of `window` still overlaps.

    As many as at rest overlap by `WINDOW_OVERLAP`; all begin at whole tokens.
    """
    last = length - window
    if last <= 0:
        return [0]
    gaps = math.ceil(last / (window * (1 - WINDOW_OVERLAP)))
    gap = last / gaps
    reach = max(0.0, min(window * (1 - WINDOW_OVERLAP / 2) - gap - _TOKEN, gap / 2))
    move = (2 * (shift % 1) - 1) * reach
    inner = (round((index * gap + move) / _TOKEN) * _TOKEN for index in range(1, gaps))
    return [0, *inner, last]


def gaussian(size: Sequence[int], device: torch.device) -> Tensor:
    """Weights (h, w) that fall from 1 in the middle to a window's edges."""
    rows = [
        torch.exp(-0.5 * ((torch.arange(side, device=device) + 0.5) / side - 0.5).square() / _SIGMA**2)
        for side in size
    ]
    return rows[0][:, None] * rows[1][None]


def detail(source: Tensor, flat: float) -> Tensor:
    """Where `source` (1, C, H, W) differs from a neighbour by `flat` or more, and next to it: (H, W) bool."""
    field = source[0].float()
    down = functional.pad((field[:, 1:] - field[:, :-1]).abs().amax(0), (0, 0, 0, 1))
    right = functional.pad((field[:, :, 1:] - field[:, :, :-1]).abs().amax(0), (0, 1))
    changes = torch.maximum(down, right)[None, None]
    return functional.max_pool2d(changes, 3, stride=1, padding=1)[0, 0] >= flat
