"""`Rendering` and the one seam, `Renderer`: the network, or a stand-in in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pixart_cli.core.request import GenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """`step` of `total` of one `stage` is done.

    `stage` is one of "load", "encode", "denoise", "refine", "decode", "resize", "write";
    `index` is the picture's position in the list of requests (0 for stages all pictures share).
    """

    stage: str
    step: int
    total: int
    index: int = 0


ProgressCallback = Callable[[ProgressEvent], None]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """A drawn picture: RGB `pixels` of the delivered size, the request, and how it came about.

    `provenance` is JSON data without paths, host or user names: versions, device, dtype, attention
    backend, weights revision, native size and resampling. `seconds` is wall time for this picture.
    """

    pixels: Image
    request: GenerationRequest
    provenance: dict[str, Any]
    seconds: float
    warnings: tuple[str, ...] = ()


class Renderer(Protocol):
    """Draws requests that share one model: loads once, embeds all prompts, then yields in order."""

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One `Rendering` a request, in order.

        Raises:
            PixartError: "model-missing", "weights-invalid", "out-of-memory" or "picture-invalid".
        """
        ...
