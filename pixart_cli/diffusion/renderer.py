"""`NetworkRenderer`: the networks behind `core.rendering.Renderer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import OFF
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Rendering
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Bin, choose_bin
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.decode import decode, invalid, is_picture
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.kv_compression import KVCompression
from pixart_cli.diffusion.memory import cast, is_out_of_memory, on_device
from pixart_cli.diffusion.parallel import shared_out
from pixart_cli.diffusion.pipeline import Components, load
from pixart_cli.diffusion.provenance import describe
from pixart_cli.diffusion.resample import Fit, resample
from pixart_cli.diffusion.sampling import draw_noise, sample
from pixart_cli.diffusion.task import Task
from pixart_cli.diffusion.text import cut_off, encode, normalise, unknown_words
from pixart_cli.diffusion.transformer import kv_compressed
from pixart_cli.diffusion.weights import Installed

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixart_cli.diffusion.crew import Crew

_LOADED: Final = ("text_encoder", "transformer", "vae")
_TOKEN_PIXELS: Final = 16 * 16
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """One picture on its way out, and what happened to it."""

    pixels: torch.Tensor
    native: Bin
    vae_dtype: str
    transformer_dtype: str
    kv_compression: KVCompression | None


class NetworkRenderer:
    """Draws with the model `installed` as `plan` says. The networks stay loaded between calls.

    When memory runs out the plan is stepped down and the work of that moment done again; `plan` is
    always the one in force. Every picture is drawn by itself, in batches of its own two guidance
    branches, so its pixels do not depend on what else is asked for in the call. The processes of a
    `crew` denoise together; all else is done here.
    """

    def __init__(self, plan: MemoryPlan, installed: Installed, crew: Crew | None = None) -> None:
        self.plan = plan
        self.installed = installed
        self._crew = crew
        self._components: Components | None = None
        self._embeds: dict[str, torch.Tensor] = {}

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One `Rendering` a request, in order; all prompts are embedded first and the encoder freed.

        Raises:
            PixartError: "weights-invalid", "out-of-memory", "picture-invalid", or "request-invalid" for a KV
                compression other than the one that the weights were trained with.
        """
        started = time.monotonic()
        self._with_fallback(lambda: self._embed(requests, on_progress))
        for index, request in enumerate(requests):
            yield self._render_one(request, index, on_progress, started)
            started = time.monotonic()

    def _render_one(
        self, request: GenerationRequest, index: int, on_progress: ProgressCallback, started: float
    ) -> Rendering:
        def report(stage: str, step: int, total: int) -> None:
            on_progress(ProgressEvent(stage=stage, step=step, total=total, index=index))

        drawn = self._with_fallback(lambda: self._draw(request, report))
        image, fit = self._with_fallback(lambda: self._deliver(drawn, request, report))
        return Rendering(
            pixels=image,
            request=request,
            provenance=self._provenance(request, drawn, fit),
            seconds=time.monotonic() - started,
            warnings=self._warnings(request),
        )

    def _with_fallback(self, work: Callable[[], _T]) -> _T:
        """`work` done under the plan, or under the next smaller one each time memory runs out."""
        while True:
            try:
                with exact(self.plan), torch.inference_mode():
                    return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.plan.step_down()
            self.close()
            if smaller is None:
                raise PixartError(
                    "out-of-memory",
                    f"memory ran out on {self.plan.device}, after every fallback",
                    "Close other programs, choose a smaller model with --model, or try --device cpu.",
                )
            self.plan = smaller

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
        new = [text for text in texts if text not in self._embeds]
        if not new:
            return
        parts = self._parts()
        encoder = parts.text_encoder
        on_progress(ProgressEvent(stage="load", step=1, total=len(_LOADED)))
        with on_device(encoder, self.plan):
            for done, text in enumerate(new, start=1):
                self._embeds[text] = encode(
                    parts.tokenizer, encoder, text,
                    max_tokens=self.installed.spec.max_tokens, device=self.plan.device,
                )  # fmt: skip
                on_progress(ProgressEvent(stage="encode", step=done, total=len(new)))
        del encoder
        parts.free("text_encoder")

    def _draw(self, request: GenerationRequest, report: Callable[[str, int, int], None]) -> _Drawn:
        parts = self._parts()
        for step, name in enumerate(_LOADED[1:], start=2):
            if not parts.is_loaded(name):
                getattr(parts, name)
                report("load", step, len(_LOADED))
        native = choose_bin(request.width, request.height, self.installed.spec.native)
        with self._transformer_for(request, native) as kv_compression:
            latents, dtype = self._denoise(request, native, lambda done, of: report("denoise", done, of))
        vae_plan = self.plan.for_vae()
        with on_device(parts.vae, vae_plan):
            pixels, vae_dtype = decode(parts.vae, latents.to(vae_plan.device))
        report("decode", 1, 1)
        return _Drawn(
            pixels=pixels, native=native, vae_dtype=vae_dtype, transformer_dtype=dtype,
            kv_compression=kv_compression,
        )  # fmt: skip

    @contextmanager
    def _transformer_for(self, request: GenerationRequest, native: Bin) -> Iterator[KVCompression | None]:
        """The transformer in its place and compressed as `request` says; gives the compression in force."""
        transformer = self._parts().transformer
        tokens = native.width * native.height // _TOKEN_PIXELS
        compressed = kv_compressed(transformer, request.kv_compression, tokens=tokens)
        with on_device(transformer, self.plan), compressed as kv_compression:
            yield kv_compression

    @contextmanager
    def _company(self, request: GenerationRequest) -> Iterator[None]:
        """Within, the others denoise along, if there are any."""
        if self._crew is None:
            yield
            return
        transformer, embeds = self._parts().transformer, [self._embeds[text] for text in texts_of(request)]
        task = Task.of(request, self.installed.name, self.plan, transformer.dtype, embeds)
        with task.led(self._crew, embeds) as links, shared_out(transformer, links):
            yield

    def _denoise(
        self, request: GenerationRequest, native: Bin, on_step: Callable[[int, int], None]
    ) -> tuple[torch.Tensor, str]:
        """Finite latents and their precision: half precision that overflows is done again in float32."""
        transformer = self._parts().transformer
        dtype = transformer.dtype
        latents = self._sample(request, native, on_step)
        if is_picture(latents):
            return latents, str(dtype).removeprefix("torch.")
        if dtype is torch.float32:
            raise invalid("the latents")
        with cast(transformer, torch.float32):
            latents = self._sample(request, native, on_step)
        if not is_picture(latents):
            raise invalid("the latents")
        return latents, "float32"

    def _sample(
        self, request: GenerationRequest, native: Bin, on_step: Callable[[int, int], None]
    ) -> torch.Tensor:
        parts, spec = self._parts(), self.installed.spec
        generator = torch.Generator("cpu").manual_seed(request.seed)
        channels = parts.transformer.config.in_channels
        scheduler = schedulers.build(
            request.scheduler, parts.scheduler_config, request.num_inference_steps,
            device=self.plan.device, timesteps=spec.timesteps,
        )  # fmt: skip
        with self._company(request):
            return sample(
                parts.transformer,
                scheduler,
                embeds=tuple(self._embeds[text] for text in texts_of(request)),
                guidance_scale=request.guidance_scale,
                latents=draw_noise(generator, channels, native.width, native.height).to(self.plan.device),
                generator=generator if schedulers.RULES[request.scheduler].stochastic else None,
                on_step=on_step,
            )

    def _deliver(
        self, drawn: _Drawn, request: GenerationRequest, report: Callable[[str, int, int], None]
    ) -> tuple[Image, Fit]:
        return resample(
            drawn.pixels.numpy(), request.width, request.height,
            on_band=lambda done, of: report("resize", done, of),
        )  # fmt: skip

    def _provenance(self, request: GenerationRequest, drawn: _Drawn, fit: Fit) -> dict[str, object]:
        return describe(self.plan, self.installed) | {
            "transformer_dtype": drawn.transformer_dtype,
            "vae_dtype": drawn.vae_dtype,
            "kv_compression": OFF if drawn.kv_compression is None else drawn.kv_compression.to_dict(),
            "native": drawn.native.native,
            "bin": [drawn.native.width, drawn.native.height],
            "delivered": [request.width, request.height],
            "resample": fit.to_dict(),
            **({} if self._crew is None else {"processes": self._crew.place.size}),
        }

    def _warnings(self, request: GenerationRequest) -> tuple[str, ...]:
        tokenizer, spec = self._parts().tokenizer, self.installed.spec
        found = []
        for text in dict.fromkeys((request.prompt, request.negative_prompt)):
            if cut := cut_off(tokenizer, text, spec.max_tokens):
                found.append(f"the prompt is longer than {spec.max_tokens} tokens; not read: {_begun(cut)}")
            if spec.family == "mini" and (words := unknown_words(tokenizer, text)):
                found.append(f"{spec.name} was never taught: {_begun(', '.join(words))}")
        return tuple(found)


def _begun(text: str, most: int = 400) -> str:
    """The beginning of `text`: a prompt may be 64 KiB, a warning should not."""
    return text if len(text) <= most else text[:most] + "…"


def texts_of(request: GenerationRequest) -> tuple[str, ...]:
    """What the transformer is told, normalised: (negative, prompt) with guidance, else (prompt,)."""
    if request.guidance_scale > 1:
        return normalise(request.negative_prompt), normalise(request.prompt)
    return (normalise(request.prompt),)


@contextmanager
def exact(plan: MemoryPlan) -> Iterator[None]:
    """On the processor the same request gives the same bits; elsewhere nothing is promised."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if plan.on_cpu:
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=warn_only)
