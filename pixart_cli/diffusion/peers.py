"""`PeerRenderer`: Stable Diffusion XL and Stable Cascade behind `core.rendering.Renderer`, to compare with.

diffusers' own pipelines draw. The house's are loading, memory, noise (of the seed, on the CPU, in float32),
the check that a picture is one, and the way to the delivered size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Rendering
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.fallback import Planned
from pixart_cli.diffusion.memory import return_unused
from pixart_cli.diffusion.peer_networks import load_clip_tokenizer
from pixart_cli.diffusion.peer_parts import Parts, Report
from pixart_cli.diffusion.provenance import describe
from pixart_cli.diffusion.quiet import silence
from pixart_cli.diffusion.resample import resample
from pixart_cli.diffusion.sdxl import Sdxl
from pixart_cli.diffusion.stable_cascade import StableCascade
from pixart_cli.diffusion.text import cut_off
from pixart_cli.diffusion.weights import Installed

if TYPE_CHECKING:
    import torch

    from pixart_cli.core.resolution import Bin


class Pipeline(Protocol):
    """A pipeline of diffusers with the house's networks."""

    def draw(
        self, request: GenerationRequest, size: tuple[int, int], report: Report
    ) -> tuple[torch.Tensor, Mapping[str, str]]:
        """Pixels (H, W, 3) in [0, 1] of about `size` = (width, height); the precision of each network."""


_PIPELINES: Final[Mapping[str, Callable[[Parts], Pipeline]]] = {"sdxl": Sdxl, "cascade": StableCascade}


class PeerRenderer(Planned):
    """Draws with the model `installed` as `plan` says. The networks stay loaded between calls.

    When memory runs out the plan is stepped down and the picture begun again.
    """

    def __init__(self, plan: MemoryPlan, installed: Installed) -> None:
        super().__init__(plan)
        self.installed = installed
        self._parts: Parts | None = None

    def close(self) -> None:
        """Free the networks; the next call loads them again."""
        if self._parts is not None:
            self._parts.free()
        self._parts = None
        return_unused(self.plan.device)

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One `Rendering` a request, in order.

        Raises:
            PixartError: "weights-invalid", "out-of-memory" or "picture-invalid".
        """
        for index, request in enumerate(requests):
            yield self._render_one(request, index, on_progress)

    def _render_one(self, request: GenerationRequest, index: int, on_progress: ProgressCallback) -> Rendering:
        def report(stage: str, step: int, total: int) -> None:
            on_progress(ProgressEvent(stage=stage, step=step, total=total, index=index))

        started = time.monotonic()
        native = choose_bin(request.width, request.height, self.installed.spec.native)
        pixels, precisions = self.draw_native(request, report)
        image, fit = resample(
            pixels.numpy(), request.width, request.height,
            on_band=lambda done, of: report("resize", done, of),
        )  # fmt: skip
        provenance = describe(self.plan, self.installed) | {
            **{f"{name}_dtype": precision for name, precision in precisions.items()},
            "native": native.native,
            "bin": [native.width, native.height],
            "drawn": [pixels.shape[1], pixels.shape[0]],
            "delivered": [request.width, request.height],
            "resample": fit.to_dict(),
        }
        return Rendering(
            pixels=image, request=request, provenance=provenance, seconds=time.monotonic() - started,
            warnings=self._warnings(request),
        )  # fmt: skip

    def draw_native(
        self, request: GenerationRequest, report: Report = lambda _stage, _step, _total: None
    ) -> tuple[torch.Tensor, Mapping[str, str]]:
        """The picture at its native size, pixels (H, W, 3) in [0, 1], and the precision of each network.

        Raises:
            PixartError: as :meth:`render`.
        """
        native = choose_bin(request.width, request.height, self.installed.spec.native)
        return self.with_fallback(lambda: self._draw(request, native, report))

    def _draw(
        self, request: GenerationRequest, native: Bin, report: Report
    ) -> tuple[torch.Tensor, Mapping[str, str]]:
        if self._parts is None:
            self._parts = Parts(self.installed, self.plan)
        pipeline = _PIPELINES[self.installed.spec.family](self._parts)
        with silence():
            return pipeline.draw(request, (native.width, native.height), report)

    def _warnings(self, request: GenerationRequest) -> tuple[str, ...]:
        tokenizer = load_clip_tokenizer(self.installed.parts["tokenizer"])
        most = min(self.installed.spec.max_tokens, int(tokenizer.model_max_length))
        texts = dict.fromkeys((request.prompt, request.negative_prompt))
        with silence():  # the tokenizer warns of what is said below
            ends = [end for text in texts if (end := cut_off(tokenizer, text, most))]
        return tuple(f"the prompt is longer than {most} tokens; not read: {end[:400]}" for end in ends)
