"""What is asked for: typed options, environment, files and preset laid over each other, then made into jobs.

Precedence: typed > environment ``PIXART_*`` > ``pixart.toml`` here > the user's ``config.toml`` > preset >
built-in.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pixart_cli.core import paths
from pixart_cli.core.catalog import ModelSpec, default_model, get_model, is_folder, spec_of_folder
from pixart_cli.core.encoder_bits import bits_for
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent, strength_of
from pixart_cli.core.kv_compression import check_kv_compression
from pixart_cli.core.options import BY_SETTING, SETTINGS, Setting, read_mapping
from pixart_cli.core.peers import check_for_model
from pixart_cli.core.presets import get_preset
from pixart_cli.core.refine import check_refine_of
from pixart_cli.core.request import GenerationRequest, check_text
from pixart_cli.core.resolution import Size, parse_size
from pixart_cli.core.toml_file import place_of, read_settings

__all__ = [
    "NO_INPUTS", "SETTINGS", "Inputs", "Job", "Setting", "Settings", "check_prompt", "fresh_seed",
    "from_environment", "lay_over", "naming_origin", "read_mapping", "read_toml", "resolve_requests",
    "unknown_variables",
]  # fmt: skip

PROJECT_FILE: Final = "pixart.toml"
USER_FILE: Final = "config.toml"
NO_PRESET: Final = "none"  # a word, so that what a file or variable says can be unsaid
# Documented variables that are no settings.
OTHER_VARIABLES: Final = ("PIXART_DEBUG", "PIXART_CONFIG_DIR", "PIXART_STATE_DIR", "PIXART_CACHE_DIR")
_PREFIX: Final = "PIXART_"


@dataclass(frozen=True)
class Settings:
    """Every setting's value, and in words where it came from. `warnings` are sentences for standard error."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One picture: the request, the size it was asked in, the preset, and its place (from 0) in the call.

    `prompt` is what was typed, before a preset put its sentence around it; `parent` the init image, if any.
    """

    request: GenerationRequest
    size: Size
    preset: str | None
    index: int
    prompt: str = ""
    parent: Parent | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files that a call names, read: what a request says of LoRAs (`lora.spell`), and the init image."""

    lora: str = ""
    parent: Parent | None = None


NO_INPUTS: Final = Inputs()


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a configuration file; none if there is no such file.

    Raises:
        PixartError: "config-invalid" naming file and line.
    """
    if not os.path.lexists(path):
        return {}
    return read_settings(path, BY_SETTING, code="config-invalid")


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings of ``PIXART_<KEY>`` variables; an empty one counts as not set.

    Raises:
        PixartError: "config-invalid" naming the variable.
    """
    found = {setting: environ.get(_PREFIX + setting.key.upper(), "") for setting in SETTINGS}
    return {
        setting.key: setting.read(text.strip(), source=_PREFIX + setting.key.upper(), code="config-invalid")
        for setting, text in found.items()
        if text.strip()
    }


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each ``PIXART_*`` variable that sets nothing: most likely a misspelling."""
    known = [*(_PREFIX + setting.key.upper() for setting in SETTINGS), *OTHER_VARIABLES]
    strange = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
    return tuple(_strange(name, known) for name in strange)


def _strange(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"{name} sets nothing" + (f"; did you mean {close[0]}?" if close else "")


def lay_over(
    typed: Mapping[str, Any], *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Settings:
    """Every source of settings laid over the next weaker one.

    `typed` holds what the command line said, by setting key; None means "not typed".

    Raises:
        PixartError: "config-invalid", "preset-unknown", "preset-invalid", or what fits a typed value.
    """
    environ = os.environ if environ is None else environ
    layers = list(_layers(typed, environ, cwd or paths.here()))
    origin, name = next(((o, values["preset"]) for o, values in layers if "preset" in values), ("", None))
    if name not in (None, NO_PRESET):
        with _told_by(origin, "preset"):
            layers.append((f"preset {name}", dict(get_preset(name, environ).settings)))
    layers.append(("built-in", {setting.key: setting.default for setting in SETTINGS}))
    values = {key: value for _, layer in reversed(layers) for key, value in layer.items()}
    values["preset"] = None if name == NO_PRESET else name
    origins = {key: origin for origin, layer in reversed(layers) for key in layer}
    return Settings(values, origins, unknown_variables(environ))


@contextmanager
def naming_origin(settings: Settings, key: str) -> Iterator[None]:
    """Within, an error is that of the setting `key`, and names the file or variable which said it, if any."""
    with _told_by(settings.origins.get(key, ""), key):
        yield


@contextmanager
def _told_by(origin: str, key: str) -> Iterator[None]:
    try:
        yield
    except PixartError as error:
        if origin in ("", "typed", "built-in"):
            raise
        if origin == "environment":
            place = _PREFIX + key.upper()
        else:
            place = origin if origin.startswith("preset ") else place_of(Path(origin), key)
        raise PixartError(error.code, f"{place}: {error.message}", error.hint) from None


Layer = tuple[str, dict[str, Any]]


def _layers(typed: Mapping[str, Any], environ: Mapping[str, str], cwd: Path) -> Iterator[Layer]:
    """(origin, settings) from the strongest to the weakest."""
    yield "typed", read_mapping(typed, source="command line")
    yield "environment", from_environment(environ)
    for path in (cwd / PROJECT_FILE, paths.config_dir(environ) / USER_FILE):
        yield str(path), read_toml(path)


def resolve_requests(
    settings: Settings, prompts: Sequence[str], *, installed: Collection[str], inputs: Inputs = NO_INPUTS
) -> list[Job]:
    """One job a prompt and seed, every value set: the rest comes from the model, the size and chance.

    `installed` are the names of the models on this machine, among which the default is chosen.

    Raises:
        PixartError: "prompt-invalid", "size-invalid", "model-unknown", "weights-invalid", "request-invalid",
            or "usage" for a strength without an init image.
    """
    values = settings.values
    for prompt in prompts:
        check_prompt(prompt)
    size = parse_size(values["res"]) if values["res"] is not None else None
    with naming_origin(settings, "model"):
        spec = _model(values["model"], size, installed)
    check_for_model(
        values, spec, lora=bool(inputs.lora), init_image=inputs.parent is not None,
        encoder_bits=values["encoder_bits"], told_by=lambda key: naming_origin(settings, key),
    )  # fmt: skip
    check_kv_compression(values["kv_compression"], spec)
    check_refine_of(values["refine"], spec)
    with naming_origin(settings, "strength"):
        values = {**values, "strength": strength_of(values["strength"], inputs.parent, spec)}
    size = size or Size(spec.native, spec.native)
    pairs = [(prompt, seed) for prompt in prompts for seed in _seeds(values["seed"], values["count"])]
    return [
        Job(
            _request(values, prompt, seed, spec, size, inputs), size, values["preset"], index, prompt,
            inputs.parent,
        )
        for index, (prompt, seed) in enumerate(pairs)
    ]  # fmt: skip


def check_prompt(prompt: str) -> None:
    """Raise "prompt-invalid" unless `prompt` says something, before a preset's sentence hides that."""
    check_text(prompt, "prompt")
    if not prompt.strip():
        raise PixartError("prompt-invalid", "the prompt is empty", "Say what to draw, in quotes.")


def _model(typed: str | None, size: Size | None, installed: Collection[str]) -> ModelSpec:
    if typed is None:
        width, height = (size.width, size.height) if size else (None, None)
        return get_model(default_model(installed, width, height))
    return spec_of_folder(Path(typed)) if is_folder(typed) else get_model(typed)


def fresh_seed() -> int:
    """A seed that nobody asked for, from the system's own chance."""
    return int.from_bytes(os.urandom(4), "big")


def _seeds(typed: int | None, count: int) -> range:
    first = fresh_seed() if typed is None else typed
    return range(first, first + count)


def _request(
    values: Mapping[str, Any], prompt: str, seed: int, spec: ModelSpec, size: Size, inputs: Inputs
) -> GenerationRequest:
    guidance_scale = _or(values["guidance"], spec.default_guidance)
    # Without guidance it ends nowhere: one picture, one request.
    until = _or(values["guidance_until"], spec.default_guidance_until) if guidance_scale > 1 else 1.0
    before, _, after = values.get("prompt", "{prompt}").partition("{prompt}")
    return GenerationRequest(
        prompt=before + prompt + after,
        negative_prompt=values["negative"],
        model=spec.name if values["model"] is None else values["model"],
        width=size.width,
        height=size.height,
        num_inference_steps=_or(values["steps"], spec.default_steps),
        guidance_scale=guidance_scale,
        scheduler=_or(values["scheduler"], spec.default_scheduler),
        seed=seed,
        kv_compression=values["kv_compression"],
        refine=values["refine"],
        lora=inputs.lora,
        init_image="" if inputs.parent is None else inputs.parent.sha256,
        strength=values["strength"],
        text_encoder_bits=bits_for(values["encoder_bits"], spec),
        guidance_until=until,
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
