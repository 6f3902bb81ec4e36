"""A training configuration: what was typed, the file and its recipe laid over each other, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pixart_cli.core import paths
from pixart_cli.core.catalog import NATIVE_SIZES
from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import trained_compression
from pixart_cli.core.toml_file import place_of, read_settings
from pixart_cli.features.finetune.table import FILE_KEYS, KEYS, RECIPE_KEYS, ROWS

CODE: Final = "config-invalid"
_TYPED: Final = "command line"
_RECIPE: Final = "recipe"
_BUILT_IN: Final = "built-in"
_DEEP: Final = ":deep"
_NEEDED: Final = ("model", "data", "out")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run, every value set and of its kind; the fields are the rows of `table.ROWS`.

    `recipe` is the recipe's name or "". `origins` says of every key where its value is from, as
    "train.toml:3"; it is no part of what two configurations are compared by.
    """

    recipe: str = ""
    model: str
    data: str
    out: str
    cache: str
    method: str
    vae: str
    image_size: int
    interpolate_positions: bool
    aspect_bins: bool
    kv_compression: str
    kv_start: str
    lora_rank: int
    lora_alpha: float
    lora_targets: tuple[str, ...]
    instance_prompt: str
    class_data: str
    class_prompt: str
    prior_weight: float
    steps: int
    batch_size: int
    accumulate: int
    optimizer: str
    learning_rate: float
    warmup_steps: int
    schedule: str
    weight_decay: float
    beta1: float
    beta2: float
    clip: float
    ema: float
    seed: int
    learn_sigma: str
    min_snr: float
    caption_dropout: float
    precision: str
    gradient_checkpointing: bool
    export_dtype: str
    device: str
    save_every: int
    keep: int
    export_at: tuple[int, ...]
    log_every: int
    sample_every: int
    sample_prompts: tuple[str, ...]
    sample_seed: int
    plots: bool
    tensorboard: bool
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The values by key, JSON data."""
        names = ["recipe", *KEYS]
        values = {name: getattr(self, name) for name in names}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def refuse(self, key: str, what: str, hint: str, *, code: str = CODE) -> PixartError:
        """The error that the value of `key` leads to; it names the line."""
        return PixartError(code, f"{self.origins.get(key, key)}: {what}", hint)

    @property
    def is_warmed_by_recipe(self) -> bool:
        """Whether `warmup_steps` is what the recipe or nobody said, and follows the number of steps."""
        origin = self.origins.get("warmup_steps", "")
        return origin == _BUILT_IN or origin == f"{_RECIPE} {self.recipe}"

    @property
    def compression(self) -> dict[str, Any] | None:
        """`kv_compression` as `KVCompression.of` reads it; no "layers" for the deep half. None for none."""
        if self.kv_compression == "off":
            return None
        if self.kv_compression.endswith(_DEEP):
            text = self.kv_compression.removesuffix(_DEEP) + ":0"
            return {key: value for key, value in trained_compression(text).items() if key != "layers"}
        return trained_compression(self.kv_compression)


def read_config(file: Path | None, typed: Mapping[str, Any]) -> TrainConfig:
    """The configuration in `file`, over its recipe, under what was `typed` (None: not typed).

    Raises:
        PixartError: "config-invalid" naming file and line for an unknown key, a wrong value or a combination
            that cannot be.
    """
    if file is not None and not file.exists() and file.name in recipe_files():
        hint = f'Write a file that says recipe = "{file.name}", model, data and out, and name that.'
        raise PixartError(CODE, f"{file.name} is a recipe, and no file", hint)
    if file is not None and not file.exists():
        hint = "Name a file that says model, data and out; docs/train.md has an example."
        raise PixartError(CODE, f"there is no file {file}", hint)
    said = {} if file is None else read_settings(file, FILE_KEYS, code=CODE)
    given = {key: value for key, value in typed.items() if value is not None}
    in_file, typed_name = said.pop("recipe", ""), given.pop("recipe", "")
    named = typed_name or in_file
    layers = [(f"{_RECIPE} {named}", _recipe(named, None if typed_name else file))] if named else []
    needs = layers[0][1].pop("needs", ()) if layers else ()
    values: dict[str, Any] = {row.key: row.default for row in ROWS}
    origins = dict.fromkeys(values, _BUILT_IN)
    checked = {key: KEYS[key].check(value, source=_TYPED, code=CODE) for key, value in given.items()}
    for origin, layer in (*layers, (str(file), said), (_TYPED, checked)):
        for key, value in layer.items():
            values[key] = value
            origins[key] = place_of(file, key) if file is not None and origin == str(file) else origin
    config = TrainConfig(recipe=named, **values, origins=MappingProxyType(origins))
    if config.is_warmed_by_recipe:  # which is for its own number of steps
        config = replace(config, warmup_steps=min(config.warmup_steps, config.steps // 10))
    _check(config, file, needs)
    return config


def _recipe(name: str, file: Path | None) -> dict[str, Any]:
    """As :func:`recipe_values`; an error names the line of `file` that asked for it."""
    try:
        return recipe_values(name)
    except PixartError as error:
        if file is None or name in recipe_files():
            raise
        what = f"{place_of(file, 'recipe')}: {error.message}"
        raise PixartError(error.code, what, error.hint) from None


def recipe_files() -> dict[str, Path]:
    """Every recipe by name; the user's own hide those that ship."""
    found: dict[str, Path] = {}
    for folder in (paths.user_presets_dir() / "train", paths.presets_dir() / "train"):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def recipe_values(name: str) -> dict[str, Any]:
    """What the recipe `name` sets, over what it starts from, less what is said about it.

    Raises:
        PixartError: "config-invalid" when there is none of that name, or its file is wrong.
    """
    files, values, seen = recipe_files(), dict[str, Any](), list[str]()
    while name:
        if name not in files or name in seen:
            close = get_close_matches(name.lower(), list(files), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(files)}."
            what = f"recipe {name!r} starts from itself" if name in seen else f"no recipe is named {name!r}"
            raise PixartError(CODE, what, hint)
        seen.append(name)
        read = read_settings(files[name], RECIPE_KEYS, code=CODE)
        name = read.pop("recipe", "")
        values = read | values
    return {key: value for key, value in values.items() if key not in ("title", "description")}


def _check(config: TrainConfig, file: Path | None, needs: tuple[str, ...]) -> None:
    """Refuse what no machine could make of the values, whatever the model."""
    for key in dict.fromkeys((*_NEEDED, *needs)):
        if not getattr(config, key):
            about = KEYS[key].help
            what = f"{file or 'the configuration'}: {key} is missing"
            if key in needs and key not in _NEEDED:
                what += f", which the recipe {config.recipe} needs"
            value = '"…"' if KEYS[key].kind is str else "…"
            raise PixartError(CODE, what, f"Write {key} = {value}: {about}.")
    for rule in (_check_size, _check_compression, _check_method, _check_subject, _check_samples, _check_pace):
        rule(config)


def _check_size(config: TrainConfig) -> None:
    if config.image_size and config.image_size not in NATIVE_SIZES:
        sizes = ", ".join(map(str, NATIVE_SIZES))
        raise config.refuse("image_size", f"image_size cannot be {config.image_size}", f"Expected {sizes}.")


def _check_compression(config: TrainConfig) -> None:
    try:
        compression = config.compression
    except PixartError as error:
        hint = "Write off, conv:2:deep or SAMPLING:R:LAYERS, as conv:2:14-27."
        raise config.refuse("kv_compression", error.message, hint) from None
    if compression is None and config.kv_start == "random":
        hint = 'Set kv_compression, as "conv:2:deep".'
        raise config.refuse("kv_start", "nothing is compressed that could start at random", hint)


def _check_method(config: TrainConfig) -> None:
    if config.method != "lora":
        return
    for key, words in (
        ("vae", "a new VAE"),
        ("image_size", "another size"),
        ("kv_compression", "compression"),
    ):
        if getattr(config, key) not in ("", 0, "off"):
            hint = 'Train it with method = "full" first, then the LoRA on the result.'
            raise config.refuse(key, f"a LoRA cannot hold {words}", hint)
    if config.ema:
        raise config.refuse("ema", "a LoRA is exported as it is, without an average", "Set ema = 0.")


def _check_subject(config: TrainConfig) -> None:
    if bool(config.class_data) != bool(config.class_prompt):
        there, missing = (
            ("class_data", "class_prompt") if config.class_data else ("class_prompt", "class_data")
        )
        raise config.refuse(there, f"{there} is set, {missing} is not", "Set both, or none.")


def _check_samples(config: TrainConfig) -> None:
    if config.sample_every and not config.sample_prompts:
        hint = 'Set sample_prompts = ["…"], or sample_every = 0.'
        raise config.refuse("sample_every", "there are no sample_prompts to draw", hint)


def _check_pace(config: TrainConfig) -> None:
    if config.warmup_steps >= config.steps > 1:
        what = f"warmup_steps is {config.warmup_steps} of {config.steps} steps"
        raise config.refuse("warmup_steps", what, "Make it less, or steps more.")
    if config.export_at and config.export_at[-1] > config.steps:
        what = f"there is no step {config.export_at[-1]} to export: the run has {config.steps}"
        raise config.refuse("export_at", what, "Leave it out, or make steps more.")
    if config.learn_sigma == "on" and config.method == "lora":
        hint = 'Leave learn_sigma at "auto".'
        raise config.refuse("learn_sigma", "a LoRA leaves the variance as it is", hint)
