"""Requests → PNG files: worked out first, checked against the disk, then drawn and written one by one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pixart_cli.core.catalog import ModelSpec, get_model, is_folder, spec_of_folder
from pixart_cli.core.crew import place
from pixart_cli.core.errors import PixartError
from pixart_cli.core.garbage import set_libraries_apart
from pixart_cli.core.lora import spell
from pixart_cli.core.metadata import Level, texts_for
from pixart_cli.core.png import encode
from pixart_cli.core.publish import publish, refuse_place, try_folder
from pixart_cli.core.refine import Pass, plan_passes
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Renderer, Rendering
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Bin, choose_bin
from pixart_cli.core.settings import Inputs, Job, Settings, naming_origin, resolve_requests
from pixart_cli.core.template import STDOUT, output_paths
from pixart_cli.diffusion.device import Facts, MemoryPlan, plan, probe
from pixart_cli.diffusion.embeds import embeds_cache
from pixart_cli.diffusion.init_image import read_init_image
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.quantisation import check_library
from pixart_cli.diffusion.weights import Installed, installed_models, locate, parameters_of

STANDARD_OUTPUT = Path(STDOUT)
NO_FILES: Mapping[str, Path] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Order:
    """One call of `gen`, worked out and not yet drawn: all jobs share model and size.

    `paths` are absolute, one a job, or `STANDARD_OUTPUT`. `bin` is the native size that is drawn.
    `installed` says whether the model's weights are on this machine; `files` where those lie that the
    requests name by their sha256.
    """

    jobs: tuple[Job, ...]
    paths: tuple[Path, ...]
    spec: ModelSpec
    bin: Bin
    plan: MemoryPlan
    installed: bool
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model as asked for: a name of the catalogue, or a folder."""
        return self.jobs[0].request.model

    @property
    def passes(self) -> tuple[Pass, ...]:
        """What follows the native picture on its way to the size asked for."""
        request = self.jobs[0].request
        return plan_passes(request.refine, self.spec, self.bin, request.width, request.height)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One picture that now exists at `path`; `data` holds the PNG itself if it went to no file."""

    job: Job
    path: Path
    rendering: Rendering
    data: bytes | None = None


def plan_jobs(settings: Settings, prompts: Sequence[str], *, cwd: Path) -> Order:
    """What `settings` ask for, to the last seed and file name. Loads no weights and writes nothing.

    Raises:
        PixartError: for every mistake in the request, "device-unavailable", "output-exists", or as `gather`.
    """
    values = settings.values
    installed = installed_models()
    inputs, files = gather(settings)
    jobs = resolve_requests(settings, prompts, installed=installed, inputs=inputs)
    with naming_origin(settings, "output"):
        paths = output_paths(values["output"], jobs, cwd=cwd)
    refuse_existing(paths, force=values["force"])
    request = jobs[0].request
    spec = spec_of(request.model)
    size = request.width, request.height
    return Order(
        jobs=tuple(jobs),
        paths=tuple(paths),
        spec=spec,
        bin=choose_bin(*size, spec.native),
        plan=_of_one(
            plan_for(
                spec,
                request,
                device=values["device"],
                memory=values["memory"],
                compiled=values["torch_compile"],
            )
        ),
        installed=request.model in installed or bool(parameters_of(request.model)),
        files=files,
    )


def gather(settings: Settings) -> tuple[Inputs, dict[str, Path]]:
    """The LoRAs and the init image that `settings` name: what a request says of them, and where they lie.

    Raises:
        PixartError: "lora-missing", "weights-invalid", "init-image-missing", "init-image-invalid", "disk", or
            "usage" for a LoRA that is there twice.
    """
    with naming_origin(settings, "lora"):
        loras = [find_lora(wish) for wish in settings.values["lora"]]
        said = spell([lora.recorded for lora in loras])
    files = {lora.recorded.sha256: lora.path for lora in loras}
    place = settings.values["init_image"]
    if place is None:
        return Inputs(lora=said), files
    with naming_origin(settings, "init_image"):
        parent, _ = read_init_image(Path(place))
    return Inputs(lora=said, parent=parent), files | {parent.sha256: Path(place)}


def plan_for(
    spec: ModelSpec, request: GenerationRequest, *, device: str, memory: str, compiled: bool = False
) -> MemoryPlan:
    """How this machine will draw `request` with `spec`.

    Raises:
        PixartError: as `device.plan`; "extra-missing" for a quantised text encoder without the library.
    """
    check_library(request.text_encoder_bits)
    planned = plan(
        probe(), spec, request.width, request.height, device=device, memory=memory,
        refine=request.refine, facts=facts_of(request),
    )  # fmt: skip
    return dataclasses.replace(planned, compiled=compiled and not spec.is_peer)


def facts_of(request: GenerationRequest) -> Facts:
    """What a plan should know of `request` beyond the model's row."""
    strength = request.strength if request.init_image else None
    return Facts(
        parameters=parameters_of(request.model), strength=strength, encoder_bits=request.text_encoder_bits,
        steps=request.num_inference_steps, guidance_scale=request.guidance_scale,
        guidance_until=request.guidance_until,
    )  # fmt: skip


def _of_one(memory_plan: MemoryPlan) -> MemoryPlan:
    """`memory_plan`, which says so when others will share the work: it is that of one process."""
    here = place(os.environ)
    if here.alone:
        return memory_plan
    reason = f"{here.size} processes share each picture; memory and time are those of one that draws alone."
    return dataclasses.replace(memory_plan, reasons=(*memory_plan.reasons, reason))


def spec_of(model: str) -> ModelSpec:
    """The catalogue's row for `model`, or what the folder `model` says of itself."""
    return spec_of_folder(Path(model)) if is_folder(model) else get_model(model)


def refuse_existing(paths: Sequence[Path], *, force: bool) -> None:
    """Before time is spent on drawing, refuse the first of `paths` that is there or is no place for a file.

    Raises:
        PixartError: "output-exists" or "output-invalid".
    """
    for path in paths:
        if path == STANDARD_OUTPUT:
            continue
        refuse_place(path)
        if not force and os.path.lexists(path):
            hint = "Choose another name with --output, or overwrite it with --force."
            raise PixartError("output-exists", f"{path} exists already", hint)


def try_folders(paths: Sequence[Path]) -> None:
    """Try to write where the folders of `paths` are, or will be made by the first picture written there.

    None is made here: a call that draws nothing leaves none behind.

    Raises:
        PixartError: "disk" naming the folder and the reason.
    """
    for folder in dict.fromkeys(path.parent for path in paths if path != STANDARD_OUTPUT):
        try_folder(folder)


def find_weights(model: str) -> None:
    """Raise where the weights of `model` are not on this machine, or not what they should be.

    Raises:
        PixartError: "model-missing" or "weights-invalid".
    """
    locate(model)


def network(
    model: str,
    memory_plan: MemoryPlan,
    files: Mapping[str, Path] = NO_FILES,
    *,
    cache_bytes: int = 0,
    together: bool = False,
) -> Renderer:
    """The networks of `model`, loaded when the first picture is asked for; with all processes there are.

    Args:
        files: those that requests name, by their sha256.
        cache_bytes: how much of prompts' embeddings may be kept on disk, so as not to load the encoder again.
        together: whether pictures may share a forward, as many as the plan says.

    Raises:
        PixartError: "model-missing" or "weights-invalid"; "device-unavailable" or "process-lost".
    """
    installed = locate(model)
    if installed.spec.is_peer:
        return _peer(memory_plan, installed)
    from pixart_cli.diffusion.renderer import NetworkRenderer

    set_libraries_apart()
    here, cache = place(os.environ), embeds_cache(installed, cache_bytes)
    if here.alone:
        return NetworkRenderer(memory_plan, installed, cache=cache, files=files, together=together)
    from pixart_cli.diffusion.crew import join

    crew = join(here)
    crew.own_device(memory_plan.device)
    return NetworkRenderer(memory_plan, installed, crew, cache, files)


def _peer(memory_plan: MemoryPlan, installed: Installed) -> Renderer:
    """What draws with a model that is not PixArt's: one process."""
    if not place(os.environ).alone:
        what = f"{installed.name} is not drawn by several processes together"
        raise PixartError("request-invalid", what, "Start one process, or choose a model of PixArt's.")
    from pixart_cli.diffusion.quiet import silence

    with silence():
        from pixart_cli.diffusion.peers import PeerRenderer
    set_libraries_apart()
    return PeerRenderer(memory_plan, installed)


def generate(
    order: Order, renderer: Renderer, *, force: bool, metadata: Level, on_progress: ProgressCallback
) -> Iterator[Result]:
    """Draw and write the pictures of `order`, each as soon as it is drawn: a later failure leaves it there.

    Raises:
        PixartError: as `Renderer.render` and `publish` do.
    """
    renderings = renderer.render([job.request for job in order.jobs], on_progress=on_progress)
    for job, path, rendering in zip(order.jobs, order.paths, renderings, strict=True):
        data = png_of(rendering, job, metadata)
        if path != STANDARD_OUTPUT:
            publish(data, path, force=force)
        on_progress(ProgressEvent(stage="write", step=1, total=1, index=job.index))
        yield Result(job=job, path=path, rendering=rendering, data=data if path == STANDARD_OUTPUT else None)


def png_of(rendering: Rendering, job: Job, metadata: Level) -> bytes:
    """The PNG file of `rendering`, with as much said in it as `metadata` asks for."""
    texts = texts_for(rendering, size=job.size, preset=job.preset, parent=job.parent, level=metadata)
    return encode(rendering.pixels, texts, dpi=job.size.dpi)
