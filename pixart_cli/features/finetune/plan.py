"""What a configuration leads to on this machine: pictures, shapes, steps, memory, time. Loads no weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.crew import Place, place
from pixart_cli.core.errors import PixartError
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.device import Machine, MemoryPlan, plan, probe
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.part_files import missing_files, read_json, weight_files
from pixart_cli.diffusion.training.batches import BatchPlan, Bucket, Team
from pixart_cli.diffusion.weights import Installed, locate
from pixart_cli.features.finetune import cost
from pixart_cli.features.finetune.config import TrainConfig
from pixart_cli.features.finetune.pictures import Found, Picture, Skipped, find_pictures
from pixart_cli.features.finetune.places import check_places

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

_TOKEN_PIXELS: Final = 16
_PREDICTIONS: Final = ("epsilon", "v_prediction")
_BETAS: Final = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One picture at the shape it is learned in; `of_class`: it shows the class and not the subject."""

    picture: Picture
    width: int
    height: int
    of_class: bool = False

    @property
    def bucket(self) -> Bucket:
        """(height, width) in pixels."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """A run worked out, nothing loaded. Bytes and seconds are rules of thumb; None where unknown."""

    config: TrainConfig
    installed: Installed
    vae: Path
    memory: MemoryPlan
    here: Place
    team: Team
    native: int
    lessons: tuple[Lesson, ...]
    skipped: tuple[Skipped, ...]
    prediction_type: str
    learn_sigma: bool
    parameters: int
    trained: int
    estimate_bytes: int
    free_bytes: int
    seconds_estimate: float | None

    @property
    def spec(self) -> ModelSpec:
        """The model that is trained, as it was."""
        return self.installed.spec

    def batches(self) -> BatchPlan:
        """Which pictures each step sees."""
        extra = frozenset(index for index, lesson in enumerate(self.lessons) if lesson.of_class)
        buckets = [lesson.bucket for lesson in self.lessons]
        return BatchPlan(buckets, self.team.whole, self.config.seed, extra)

    @property
    def epochs(self) -> float:
        """How often every picture is seen."""
        own = sum(not lesson.of_class for lesson in self.lessons)
        shown = own if own == len(self.lessons) else 2 * own  # as many of the class
        return self.config.steps * self.team.whole / max(1, shown)

    @property
    def enlarged(self) -> int:
        """Pictures that are smaller than the shape they are learned in."""
        return sum(p.picture.width < p.width or p.picture.height < p.height for p in self.lessons)

    @property
    def precision(self) -> str:
        """The precision of forward and backward."""
        if self.config.precision != "auto":
            return self.config.precision
        return "bfloat16" if self.memory.dtype == "bfloat16" else "float32"  # float16 loses small gradients

    def shapes(self) -> dict[str, int]:
        """Pictures by "WIDTHxHEIGHT", the most frequent shape first."""
        counted = Counter(f"{each.width}x{each.height}" for each in self.lessons)
        return dict(counted.most_common())


def plan_training(config: TrainConfig, *, machine: Machine | None = None) -> TrainPlan:
    """What `config` leads to here.

    Raises:
        PixartError: "config-invalid" for what cannot be, naming the line; "model-missing" or
            "weights-invalid" (also for a checkpoint of another architecture); "device-unavailable"; "disk".
    """
    _check_libraries(config)
    check_places(config)
    with told_by(config, "model"):
        installed = locate(config.model)
    if installed.spec.is_peer:
        hint = "Name a model of PixArt's family, or a folder of one."
        raise config.refuse("model", f"{config.model} is no PixArt", hint, code="weights-invalid")
    if installed.spec.distilled or installed.spec.timesteps:
        hint = "Train the model it was distilled from."
        raise config.refuse("model", f"{config.model} draws in few steps, and would unlearn that", hint)
    transformer = read_json(installed.parts["transformer"] / "config.json")
    vae = _vae_of(config, installed, transformer)
    _check_compression(config, installed.spec, transformer)
    here, machine = place(os.environ), machine or probe()
    native = config.image_size or installed.spec.native
    found, lessons = _lessons(config, native)
    _check_grids(config, lessons)
    team = Team(
        batch_size=config.batch_size, accumulate=config.accumulate, processes=here.size, rank=here.rank
    )
    with told_by(config, "device"):
        memory = _memory(config, machine, installed.spec, native, here)
    parameters = sum(
        entry.parameters
        for path in weight_files(installed.parts["transformer"])
        for entry in read_header(path).values()
    )
    trained = cost.trained_parameters(config, transformer, parameters)
    shape = cost.shape_of(transformer, parameters)
    accelerator = next((each for each in machine.accelerators if each.device == memory.device), None)
    half = 2 if "bfloat16" in (config.precision, memory.dtype if config.precision == "auto" else "") else 4
    return TrainPlan(
        config=config, installed=installed, vae=vae, memory=memory, here=here, team=team, native=native,
        lessons=lessons, skipped=found.skipped, prediction_type=_prediction(config, installed),
        learn_sigma=_learns_sigma(config, transformer), parameters=parameters, trained=trained,
        estimate_bytes=cost.peak_bytes(config, shape, trained, native, half),
        free_bytes=machine.free_memory_bytes if accelerator is None else accelerator.free_bytes,
        seconds_estimate=cost.seconds(config, shape, team, native, machine, accelerator, half),
    )  # fmt: skip


def _check_libraries(config: TrainConfig) -> None:
    """Refuse now what would be missed only after all pictures were read."""
    needed = {
        "method": ("peft", config.method == "lora"),
        "optimizer": ("pytorch_optimizer", config.optimizer == "came"),
        "tensorboard": ("tensorboard", config.tensorboard),
    }
    for key, (library, wanted) in needed.items():
        if wanted and find_spec(library) is None:
            what = f"{key} = {str(getattr(config, key)).lower()!r} needs the library {library}"
            raise config.refuse(key, what, "Install it: pip install 'pixart-cli[train]'")


@contextmanager
def told_by(config: TrainConfig, key: str) -> Iterator[None]:
    """Within, an error is that of `key`, and names the line that said it."""
    try:
        yield
    except PixartError as error:
        origin = config.origins.get(key, "built-in")
        if origin in ("built-in", "command line") or error.message.startswith(origin):
            raise
        raise PixartError(error.code, f"{origin}: {error.message}", error.hint) from None


def _vae_of(config: TrainConfig, installed: Installed, transformer: dict[str, Any]) -> Path:
    """The folder of the VAE that is drawn through: the model's own, or the one to swap it for."""
    if not config.vae:
        return installed.parts["vae"]
    folder = Path(config.vae)
    with told_by(config, "vae"):
        if (folder / "config.json").is_file():
            absent = missing_files("vae", folder)
            if absent:
                what = f"{folder} has no {', '.join(absent)}"
                raise PixartError("model-missing", what, "Name a whole VAE in diffusers' layout.")
        else:
            part = folder / "vae"
            folder = part if (part / "config.json").is_file() else locate(config.vae).parts["vae"]
    vae = read_json(folder / "config.json")
    channels, stages = vae.get("latent_channels"), len(vae.get("block_out_channels") or ())
    wanted = transformer.get("in_channels")
    if vae.get("_class_name") != "AutoencoderKL" or channels != wanted or stages != 4:
        smaller = 2 ** max(0, stages - 1)
        what = f"{folder} is no VAE for this model: {channels} latent channels, {smaller}x smaller"
        hint = f"Take an AutoencoderKL of {wanted} channels that is 8x smaller, as SDXL's."
        raise config.refuse("vae", what, hint, code="weights-invalid")
    return folder


def _check_compression(config: TrainConfig, spec: ModelSpec, transformer: dict[str, Any]) -> None:
    wish = config.compression
    if wish is None:
        return
    if spec.kv_ratio > 1:
        what = f"{config.model} has compressed keys and values already"
        raise config.refuse("kv_compression", what, "Set it off, or name weights without compression.")
    layers, depth = wish.get("layers", [0]), transformer.get("num_layers")
    if max(layers) >= int(depth or 0):
        what = f"there is no layer {max(layers)}: the last is {int(depth or 0) - 1}"
        raise config.refuse("kv_compression", what, "Name layers of this model, or write conv:2:deep.")


def _check_grids(config: TrainConfig, lessons: tuple[Lesson, ...]) -> None:
    """Refuse a compression that leaves no key of the narrowest shape."""
    ratio = (config.compression or {}).get("ratio", 1)
    least = min(lessons, key=lambda each: min(each.bucket))
    if min(least.bucket) // _TOKEN_PIXELS < ratio:
        what = f"compression by {ratio} leaves nothing of {least.width}x{least.height} pixels"
        raise config.refuse("kv_compression", what, "Take a smaller ratio, or set aspect_bins = false.")


def _lessons(config: TrainConfig, native: int) -> tuple[Found, tuple[Lesson, ...]]:
    """What was found in all folders, and the pictures with their shapes."""
    own = _found(config, "data", config.instance_prompt)
    other = _found(config, "class_data", config.class_prompt) if config.class_data else Found((), ())
    rows = [(each, False) for each in own.pictures] + [(each, True) for each in other.pictures]
    lessons = []
    for picture, of_class in rows:
        width = height = native
        if config.aspect_bins:
            fit = choose_bin(picture.width, picture.height, native)
            width, height = fit.width, fit.height
        lessons.append(Lesson(picture=picture, width=width, height=height, of_class=of_class))
    return Found((*own.pictures, *other.pictures), (*own.skipped, *other.skipped)), tuple(lessons)


def _found(config: TrainConfig, key: str, caption: str) -> Found:
    folder = Path(getattr(config, key))
    if not folder.exists():
        raise config.refuse(key, f"there is no folder {str(folder)!r}", "Name a folder of pictures.")
    with told_by(config, key):
        found = find_pictures(folder, caption=caption)
    if not found.pictures:
        why = Counter(each.why for each in found.skipped).most_common(1)
        what = f"{folder} holds no picture to learn from"
        if why:
            what += f"; {len(found.skipped)} skipped, first {found.skipped[0].name}: {found.skipped[0].why}"
        hint = "Put PNG, JPEG, WebP or TIFF pictures there, each with a caption: fox.txt beside fox.png."
        if key == "class_data":
            hint = f'Draw some: pixart gen "{config.class_prompt}" -m {config.model} -n 100 -o {folder}/'
        raise config.refuse(key, what, hint)
    return found


def _memory(config: TrainConfig, machine: Machine, spec: ModelSpec, native: int, here: Place) -> MemoryPlan:
    device = config.device
    if not here.alone and device.startswith("cuda:"):
        what = f"{here.size} processes cannot all use {device}"
        raise config.refuse("device", what, 'Set device = "auto": each takes a GPU of its own.')
    if not here.alone and device in ("auto", "cuda") and machine.devices()[0].startswith("cuda"):
        device = f"cuda:{here.local_rank}"
    return plan(machine, spec, native, native, device=device)


def _prediction(config: TrainConfig, installed: Installed) -> str:
    """How the model's scheduler reads its output; only PixArt's own noise schedule is known here."""
    schedule = read_json(installed.parts["scheduler"] / "scheduler_config.json")
    other = [key for key, value in _BETAS.items() if schedule.get(key, value) != value]
    prediction = str(schedule.get("prediction_type", "epsilon"))
    if other or prediction not in _PREDICTIONS:
        what = f"{config.model} was trained on another noise: its {(other or ['prediction_type'])[0]}"
        hint = "Name a model of PixArt's family: linear betas of 1e-4 to 0.02, noise or velocity predicted."
        raise config.refuse("model", what, hint, code="weights-invalid")
    return prediction


def _learns_sigma(config: TrainConfig, transformer: dict[str, Any]) -> bool:
    there = transformer.get("out_channels") == 2 * int(transformer.get("in_channels") or 0)
    if config.learn_sigma == "on" and not there:
        what = f"{config.model} predicts no variance that could learn"
        raise config.refuse("learn_sigma", what, 'Set learn_sigma = "off".')
    return there and config.learn_sigma != "off" and config.method == "full"
