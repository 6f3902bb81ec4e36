"""`NetworkRenderer`: the networks behind `core.rendering.Renderer`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import torch

from pixart_cli.core.kv_compression import OFF
from pixart_cli.core.lora import read_recorded
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Rendering
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.cascade import Base, Cascade, Drawn, Report
from pixart_cli.diffusion.compiler import compiled
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.fallback import Planned, exact
from pixart_cli.diffusion.forward import run_block
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.init_image import read_recorded_image
from pixart_cli.diffusion.lora_merge import Change, fit, recorded_files
from pixart_cli.diffusion.memory import encoding, is_out_of_memory, return_unused
from pixart_cli.diffusion.part_files import weight_files
from pixart_cli.diffusion.pipeline import Components, dtype_for, kept_dtype, load
from pixart_cli.diffusion.provenance import describe
from pixart_cli.diffusion.resample import Fit, cut, resample
from pixart_cli.diffusion.task import Company
from pixart_cli.diffusion.text import encode, normalise, warnings_of
from pixart_cli.diffusion.together import Batch, batches, draw_bases
from pixart_cli.diffusion.weights import Installed

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixart_cli.diffusion.crew import Crew
    from pixart_cli.diffusion.embeds import EmbedsCache

_LOADED: Final = ("text_encoder", "transformer", "vae")
_KEPT_TEXTS: Final = 256
_EXACT_INSTEAD: Final = "the text encoder was streamed instead, and the picture is that of an exact one"


class NetworkRenderer(Planned):
    """Draws with the model `installed` as `plan` says. The networks stay loaded between calls.

    When memory runs out the plan is stepped down and the work of that moment done again; `plan` is
    always the one in force. Every picture is drawn by itself, in batches of its own two guidance
    branches, so its pixels do not depend on what else is asked for in the call; unless `together`, which
    lets as many share a forward as the plan says. The processes of a `crew` denoise together; all else is
    done here. What `cache` has of a prompt is not encoded again. `files` are those that requests name, by
    their sha256, looked up when they are needed.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        installed: Installed,
        crew: Crew | None = None,
        cache: EmbedsCache | None = None,
        files: Mapping[str, Path] = MappingProxyType({}),
        *,
        together: bool = False,
    ) -> None:
        super().__init__(plan if crew is None else dataclasses.replace(plan, compiled=False))
        self._to_compile = plan.compiled
        self._most = plan.together if together and crew is None else 1
        self.installed = installed
        self.files = files
        self._crew = crew
        self._cache = cache
        self._components: Components | None = None
        self._embeds: dict[str, torch.Tensor] = {}
        self._bits = plan.encoder_bits  # that `_embeds` were made with
        self._changes: dict[str, tuple[Change, ...]] = {}
        self._pictures: dict[str, Image] = {}

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One `Rendering` a request, in order; all prompts are embedded first and the encoder freed.

        Raises:
            PixartError: "weights-invalid", "out-of-memory", "picture-invalid", "request-invalid" for a KV
                compression other than the one that the weights were trained with, "lora-missing",
                "init-image-missing" or "init-image-invalid".
        """
        started = time.monotonic()
        for request in requests:  # before the encoder, which takes longest to load
            self.changes_of(request)
            self._init_image(request)
        self.with_fallback(lambda: self._embed(requests, on_progress), encoding=True)
        for batch in batches(requests, self.installed.spec, lambda: self._most):
            bases = self._bases(batch, _reporter(on_progress, batch.first))
            shared = (time.monotonic() - started) / len(bases)
            for index, (request, base) in enumerate(zip(batch.requests, bases, strict=True), batch.first):
                started = time.monotonic() - shared
                rendering = self._render_one(request, _reporter(on_progress, index), base)
                yield dataclasses.replace(rendering, seconds=time.monotonic() - started)
            started = time.monotonic()

    def _bases(self, batch: Batch, report: Report) -> list[Base | None]:
        """The bases that are drawn together; None for each that is not, or that could not be."""
        requests = batch.requests
        if len(requests) == 1:
            return [None]
        embeds = [self._texts(request) for request in requests]
        try:
            with exact(self.plan), torch.inference_mode():
                parts = self._ready(requests[0], report)
                return draw_bases(parts, self.plan, self.installed.spec, requests, embeds, report)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        return_unused(self.plan.device)
        self._most = max(1, len(requests) // 2)
        halves = requests[: self._most], requests[self._most :]
        return [base for half in halves for base in self._bases(Batch(batch.first, half), report)]

    def _render_one(self, request: GenerationRequest, report: Report, base: Base | None) -> Rendering:
        drawn = self.with_fallback(lambda: self._draw(request, report, base))
        image, fit = self.with_fallback(lambda: self._deliver(drawn, request, report))
        provenance = self._provenance(request, drawn, fit)
        if base is not None:
            provenance["together"] = True
        return Rendering(
            pixels=image, request=request, provenance=provenance, seconds=0.0,
            warnings=self._warnings(request),
        )  # fmt: skip

    def changes_of(self, request: GenerationRequest) -> tuple[Change, ...]:
        """The LoRAs of `request`, fitted to the transformer.

        Raises:
            PixartError: "lora-missing" or "weights-invalid".
        """
        if request.lora not in self._changes:
            loras = recorded_files(read_recorded(request.lora), self.files)
            paths = weight_files(self.installed.parts["transformer"]) if loras else []
            model = {key: entry for path in paths for key, entry in read_header(path).items()}
            self._changes[request.lora] = tuple(fit(lora, model) for lora in loras)
        return self._changes[request.lora]

    def _init_image(self, request: GenerationRequest) -> Image | None:
        """The picture that `request` starts from, if any; the last one is kept for the next."""
        sha256 = request.init_image
        if sha256 and sha256 not in self._pictures:
            self._pictures = {sha256: read_recorded_image(sha256, self.files.get(sha256))}
        return self._pictures.get(sha256)

    def close(self) -> None:
        """Free the networks; the next call loads them again."""
        if self._components is not None:
            self._components.free(*_LOADED)
        self._components = None

    def _parts(self) -> Components:
        if self._components is None:
            self._components = load(self.installed, self.plan)
        return self._components

    def _embed(self, requests: Sequence[GenerationRequest], on_progress: ProgressCallback) -> None:
        texts = dict.fromkeys(text for request in requests for text in texts_of(request))
        if self._bits != self.plan.encoder_bits:  # stepped down: no picture is told half in each
            self._embeds, self._bits = {}, self.plan.encoder_bits
        self._forget(texts)
        new = [text for text in texts if text not in self._embeds and not self._recall(text)]
        if not new:
            return
        parts = self._parts()
        encoder = parts.text_encoder
        on_progress(ProgressEvent(stage="load", step=1, total=len(_LOADED)))
        with encoding(encoder, self.plan, self._encoder_dtype):
            for done, text in enumerate(new, start=1):
                self._embeds[text] = encode(
                    parts.tokenizer, encoder, text,
                    max_tokens=self.installed.spec.max_tokens, device=self.plan.device,
                )  # fmt: skip
                self._keep(text)
                on_progress(ProgressEvent(stage="encode", step=done, total=len(new)))
        del encoder
        parts.free("text_encoder")

    def _forget(self, texts: Collection[str]) -> None:
        """Keep of earlier calls' texts as many as are cheap to keep: a batch has any number of them."""
        others = [text for text in self._embeds if text not in texts]
        for text in others[: max(0, len(others) - _KEPT_TEXTS)]:
            del self._embeds[text]

    def _texts(self, request: GenerationRequest) -> tuple[torch.Tensor, ...]:
        """What the transformer is told, negative first."""
        return tuple(self._embeds[text] for text in texts_of(request))

    def _recall(self, text: str) -> bool:
        """Whether the embeddings of `text` were on the disk; they are in memory then."""
        if self._cache is None:
            return False
        embeds = self._cache.recall(text, self._encoder_dtype(), self.plan)
        if embeds is not None:
            self._embeds[text] = embeds
        return embeds is not None

    def _encoder_dtype(self, key: str = "") -> torch.dtype:
        """The precision that the text encoder works in, and that its weight `key` is used in."""
        dtype = dtype_for("text_encoder", self.installed.parts["text_encoder"], self.plan)
        return kept_dtype("text_encoder", key, dtype)

    def _keep(self, text: str) -> None:
        if self._cache is not None:
            self._cache.keep(text, self._embeds[text], self.plan)

    def _ready(self, request: GenerationRequest, report: Report) -> Components:
        """The networks that draw `request`, loaded."""
        parts = self._parts()
        parts.adapt(self.changes_of(request))
        for step, name in enumerate(_LOADED[1:], start=2):
            if not parts.is_loaded(name):
                getattr(parts, name)
                report("load", step, len(_LOADED))
        report("denoise", 0, max(1, round(request.num_inference_steps * request.strength)))
        return parts

    def _draw(self, request: GenerationRequest, report: Report, base: Base | None) -> Drawn:
        parts, embeds = self._ready(request, report), self._texts(request)
        company = Company(self._crew, self.installed.name, self.plan, embeds, self.files)
        init_image = self._init_image(request)
        cascade = Cascade(parts, self.plan, self.installed.spec, embeds, company, init_image)
        return cascade.draw(request, report, base)

    def _deliver(self, drawn: Drawn, request: GenerationRequest, report: Report) -> tuple[Image, Fit]:
        pixels = drawn.pixels.numpy()
        if drawn.passes or drawn.size != (drawn.native.width, drawn.native.height):
            pixels = cut(pixels, request.width, request.height)
        return resample(
            pixels, request.width, request.height,
            on_band=lambda done, of: report("resize", done, of),
        )  # fmt: skip

    def _provenance(self, request: GenerationRequest, drawn: Drawn, fit: Fit) -> dict[str, object]:
        return describe(self.plan, self.installed) | {
            "transformer_dtype": drawn.transformer_dtype,
            "vae_dtype": drawn.vae_dtype,
            "kv_compression": OFF if drawn.kv_compression is None else drawn.kv_compression.to_dict(),
            "native": drawn.native.native,
            "bin": [drawn.native.width, drawn.native.height],
            "drawn": list(drawn.size),
            "refine": drawn.passes,
            "delivered": [request.width, request.height],
            "resample": fit.to_dict(),
            **({"compiled": True} if self.plan.compiles and not compiled(run_block).failure else {}),
            **({} if self._crew is None else {"processes": self._crew.place.size}),
            **({"lora": [each.to_dict() for each in self.changes_of(request)]} if request.lora else {}),
        }

    def _warnings(self, request: GenerationRequest) -> tuple[str, ...]:
        found = warnings_of(self._parts().tokenizer, self.installed.spec, request)
        if request.text_encoder_bits != self.plan.encoder_bits:
            found = (*found, f"memory ran out in {request.text_encoder_bits} bits: {_EXACT_INSTEAD}")
        if self._to_compile and (why := self._uncompiled()):
            found = (*found, f"drawn without torch's compiler: {why}")
        return found

    def _uncompiled(self) -> str:
        """Why nothing was compiled, in a few words; "" if it was."""
        if self._crew is not None:
            return "several processes share the work"
        if not self.plan.compiles:
            return f"with memory {self.plan.offload} the weights do not stay on the device"
        return compiled(run_block).failure


def _reporter(on_progress: ProgressCallback, index: int) -> Report:
    def report(stage: str, step: int, total: int) -> None:
        on_progress(ProgressEvent(stage=stage, step=step, total=total, index=index))

    return report


def texts_of(request: GenerationRequest) -> tuple[str, ...]:
    """What the transformer is told, normalised: (negative, prompt) with guidance, else (prompt,)."""
    if request.guidance_scale > 1:
        return normalise(request.negative_prompt), normalise(request.prompt)
    return (normalise(request.prompt),)
