"""A stand-in for the networks, that children may import without pytest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Rendering
from pixart_cli.core.request import GenerationRequest


class StandIn:
    """A `Renderer` that needs no weights: stripes whose colours are the fingerprint of the request."""

    def __init__(
        self, *, shift: int = 0, facts: dict[str, Any] | None = None, fail_at: int | None = None
    ) -> None:
        self.shift = shift
        self.facts = {"device": "cpu", "torch": "0", **(facts or {})}
        self.fail_at = fail_at
        self.failure: BaseException = RuntimeError("the stand-in was told to fail")
        self.drawn: list[GenerationRequest] = []

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One picture a request; raises `failure` instead of number `fail_at`."""
        on_progress(ProgressEvent(stage="load", step=1, total=1))
        for index, request in enumerate(requests):
            if index == self.fail_at:
                raise self.failure
            on_progress(ProgressEvent(stage="denoise", step=1, total=1, index=index))
            self.drawn.append(request)
            yield Rendering(
                pixels=self._picture(request), request=request, provenance=dict(self.facts), seconds=0.5,
                warnings=("mini was never taught: zeppelin",) if "zeppelin" in request.prompt else (),
            )  # fmt: skip

    def _picture(self, request: GenerationRequest) -> Any:
        from PIL import Image

        digest = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
        picture = Image.new("RGB", (len(digest), 1))
        picture.putdata([tuple((byte + self.shift) % 256 for _ in range(3)) for byte in digest])
        return picture.resize((request.width, request.height), Image.Resampling.NEAREST)
