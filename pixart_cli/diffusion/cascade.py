"""One picture, from noise to pixels: the base at its native size, then the passes that make it larger.

Between two passes the picture is decoded, enlarged in pixels and encoded again: enlarged latents blur
(MrFlow, arXiv 2607.01642, abstract).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.refine import Pass, base_size, plan_passes
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Bin, choose_bin
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.colour import match_colours
from pixart_cli.diffusion.compiler import compiling
from pixart_cli.diffusion.decode import decode, encode, sound
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.init_image import covering
from pixart_cli.diffusion.kv_compression import KVCompression
from pixart_cli.diffusion.memory import on_device
from pixart_cli.diffusion.parallel import shared_out
from pixart_cli.diffusion.pipeline import Components
from pixart_cli.diffusion.refine import Refinement, refine
from pixart_cli.diffusion.resample import enlarge
from pixart_cli.diffusion.sampling import Guidance, StepCallback, draw_noise, sample, sample_from
from pixart_cli.diffusion.task import Company, Joined, Task
from pixart_cli.diffusion.transformer import kv_compressed

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixart_cli.diffusion.links import Links

Report = Callable[[str, int, int], None]
_TOKEN_PIXELS: Final = 16 * 16
_VAE_SCALE: Final = 8
_SEEDS: Final = 2**63
_NEXT_SEED: Final = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: far from every seed one counts up to


@dataclass(kw_only=True)
class Drawn:
    """One picture on its way out, and what happened to it.

    `pixels` (H, W, 3) float32 in [0, 1]; `size` is what the transformer drew first, `passes` what followed.
    """

    native: Bin
    size: tuple[int, int]
    pixels: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    vae_dtype: str = ""
    transformer_dtype: str = ""
    kv_compression: KVCompression | None = None
    passes: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Base:
    """What the transformer drew first, of one picture: latents (1, C, h, w), and how they came about."""

    latents: torch.Tensor
    dtype: str
    kv_compression: KVCompression | None


class Cascade:
    """Draws with `parts` as `plan` says. `embeds` are what the transformer is told, negative first;
    `init_image` is the picture to start from, for a request that has one.

    The others of its `company` denoise along: the base forward by forward, a pass window by window.
    """

    def __init__(
        self,
        parts: Components,
        plan: MemoryPlan,
        spec: ModelSpec,
        embeds: tuple[torch.Tensor, ...],
        company: Company,
        init_image: Image | None = None,
    ) -> None:
        self._parts, self._plan, self._spec, self._embeds = parts, plan, spec, embeds
        self._company, self._init_image = company, init_image

    def draw(self, request: GenerationRequest, report: Report, base: Base | None = None) -> Drawn:
        """The picture of `request`, as large as its passes make it or larger; from `base` if there is one.

        Raises:
            PixartError: "picture-invalid", "disk", or "request-invalid" for a KV compression other than the
                one that the weights were trained with.
        """
        native, size, passes = stages(request, self._spec)
        drawn = Drawn(native=native, size=size)
        if base is None:
            self._base(drawn, request, report)
        else:
            drawn.transformer_dtype, drawn.kv_compression = base.dtype, base.kv_compression
            self._decode(drawn, base.latents)
            report("decode", 1, 1)
        done, steps = 0, sum(each.steps for each in passes)

        def step() -> None:
            nonlocal done
            done = min(done + 1, steps)
            report("refine", done, steps)

        for index, each in enumerate(passes):
            self._pass(drawn, request, each, index, step)
        return drawn

    def _base(self, drawn: Drawn, request: GenerationRequest, report: Report) -> None:
        source = None
        if self._init_image is not None:
            source = self._encode(torch.from_numpy(covering(self._init_image, *drawn.size)))

        def step(done: int, of: int) -> None:
            report("denoise", done, of)

        def work() -> torch.Tensor:
            with self._company.called(request, self._parts.transformer.dtype, source=source) as links:
                return self._sample(request, drawn.size, links, step, source)

        self._decode(drawn, self._denoise(drawn, request, work))
        report("decode", 1, 1)

    def _sample(
        self,
        request: GenerationRequest,
        size: tuple[int, int],
        links: Links | None,
        on_step: StepCallback,
        source: torch.Tensor | None,
    ) -> torch.Tensor:
        transformer, generator = self._parts.transformer, generator_of(request.seed, 0)
        guidance = Guidance(scale=request.guidance_scale, until=request.guidance_until)
        if source is not None:
            tail = schedulers.build_rest(
                request.scheduler, self._parts.scheduler_config, request.num_inference_steps,
                request.strength, device=self._plan.device,
            )  # fmt: skip
            with shared_out(transformer, links):
                return sample_from(
                    transformer, tail, embeds=self._embeds, guidance=guidance,
                    source=source.to(self._plan.device), generator=generator, on_step=on_step,
                )  # fmt: skip
        scheduler = schedulers.build(
            request.scheduler, self._parts.scheduler_config, request.num_inference_steps,
            device=self._plan.device, timesteps=self._spec.timesteps,
        )  # fmt: skip
        noise = draw_noise(generator, transformer.config.in_channels, *size).to(self._plan.device)
        with shared_out(transformer, links):
            return sample(
                transformer, scheduler, embeds=self._embeds, guidance=guidance, latents=noise,
                on_step=on_step,
                generator=generator if schedulers.RULES[request.scheduler].stochastic else None,
            )  # fmt: skip

    def _pass(
        self,
        drawn: Drawn,
        request: GenerationRequest,
        each: Pass,
        index: int,
        on_step: Callable[[], None],
    ) -> None:
        before = torch.from_numpy(enlarge(drawn.pixels.numpy(), each.width, each.height))
        source = self._encode(before)
        tail = self._tail(request, each)

        def work() -> torch.Tensor:
            called = self._company.called(
                request, self._parts.transformer.dtype, stage=index + 1, source=source
            )
            with called as links:
                return self._refine(request, each, index, source, links, lambda _done, _of: on_step())

        self._decode(drawn, self._denoise(drawn, request, work))
        drawn.pixels = match_colours(drawn.pixels, before)
        drawn.passes.append({
            "size": [each.width, each.height], "strength": each.strength,
            "timestep": round(float(tail.timesteps[0])), "steps": each.steps,
            "guidance_until": each.guidance_until, "flat": each.flat,
        })  # fmt: skip

    def _tail(self, request: GenerationRequest, each: Pass) -> schedulers.Tail:
        return schedulers.build_tail(
            request.scheduler, self._parts.scheduler_config, each.steps, each.strength,
            device=self._plan.device,
        )  # fmt: skip

    def _refine(
        self,
        request: GenerationRequest,
        each: Pass,
        index: int,
        source: torch.Tensor,
        links: Links | None,
        on_step: StepCallback,
    ) -> torch.Tensor:
        how = Refinement(
            side=self._spec.native // _VAE_SCALE, guidance_scale=request.guidance_scale,
            guidance_until=each.guidance_until, flat=each.flat,
        )  # fmt: skip
        return refine(
            self._parts.transformer, self._tail(request, each), embeds=self._embeds,
            source=source.to(self._plan.device), how=how, generator=generator_of(request.seed, index + 1),
            on_step=on_step, links=links,
        )  # fmt: skip

    def assist(self, task: Task, join: Callable[[], Joined]) -> None:
        """Do this process's share of `task`, of which the process that leads keeps the result.

        `join` is called when the transformer is ready; it gives the links, what the transformer is told and
        the picture to start from or to refine.

        Raises:
            PixartError: as `draw`, and as `Links.gather`.
        """
        _, size, passes = stages(task.request, self._spec)
        with ready(self._parts, self._plan, task.request, size):
            joined = join()
            self._embeds = joined.embeds
            if task.stage == 0 or joined.source is None:
                self._sample(task.request, size, joined.links, _say_nothing, joined.source)
            else:
                index = task.stage - 1
                self._refine(task.request, passes[index], index, joined.source, joined.links, _say_nothing)

    def _denoise(
        self, drawn: Drawn, request: GenerationRequest, work: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Finite latents: half precision that overflows is done again in float32."""
        with ready(self._parts, self._plan, request, drawn.size) as drawn.kv_compression:
            latents, drawn.transformer_dtype = sound(self._parts.transformer, work, "the latents")
        return latents

    def _decode(self, drawn: Drawn, latents: torch.Tensor) -> None:
        plan = self._plan.for_vae()
        with on_device(self._parts.vae, plan):
            drawn.pixels, drawn.vae_dtype = decode(self._parts.vae, latents.to(plan.device))

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        with on_device(self._parts.vae, self._plan.for_vae()):
            return encode(self._parts.vae, pixels)


@contextmanager
def ready(
    parts: Components, plan: MemoryPlan, request: GenerationRequest, size: tuple[int, int]
) -> Iterator[KVCompression | None]:
    """The transformer in its place, compressed as `request` says; gives the compression in force."""
    transformer, tokens = parts.transformer, size[0] * size[1] // _TOKEN_PIXELS
    compressed = kv_compressed(transformer, request.kv_compression, tokens=tokens)
    compiler = compiling(transformer, on=plan.compiles)
    with on_device(transformer, plan), compressed as kv_compression, compiler:
        yield kv_compression


def stages(request: GenerationRequest, spec: ModelSpec) -> tuple[Bin, tuple[int, int], tuple[Pass, ...]]:
    """The bin, the size of the base, and the passes that follow."""
    native = choose_bin(request.width, request.height, spec.native)
    size = base_size(request.refine, native, request.width, request.height)
    return native, size, plan_passes(request.refine, spec, native, request.width, request.height)


def _say_nothing(_done: int, _of: int) -> None:
    """A helper's progress is the leader's."""


def generator_of(seed: int, stage: int) -> torch.Generator:
    """The seed's own for the base, stage 0, and one far from it for each pass."""
    return torch.Generator("cpu").manual_seed((seed + stage * _NEXT_SEED) % _SEEDS)
