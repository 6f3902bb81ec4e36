"""The models pixart knows: data (``catalog.toml``), and which one suits a size."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pixart_cli.core.components import PEERS, components_of, needed_files
from pixart_cli.core.errors import PixartError
from pixart_cli.core.refine import RefineSettings

BUILT_IN: Final = "mini"
NATIVE_SIZES: Final = (256, 512, 1024, 2048, 4096)
_VAE_SCALE: Final = 8
_MAX_CONFIG_BYTES: Final = 1 << 20
_LAYOUT: Final = (
    "A model folder holds model_index.json, tokenizer, text_encoder, vae, transformer and scheduler."
)
_CHECKED: Final = ("sample_size", "interpolation_scale", "use_additional_conditions")

# Whose usual way a folder of weights is given, unless it says that it is like another model.
_USUAL: Final = "sigma-1024"
LIKE: Final = "_pixart_model"
"""The key of model_index.json that says which model of the catalogue a folder is drawn with as."""
# Of folders as diffusers saves them: the pipeline's name and the catalogue's for what it draws with.
_PEER_PIPELINES: Final = {
    "StableDiffusionXLPipeline": "sdxl", "StableCascadeCombinedPipeline": "cascade",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Where a component's files are: a hub repository, a folder in it, and patterns inside that folder.

    `also` names repositories that hold the same files: as good, if they are on this machine already.
    """

    repo: str
    subfolder: str
    allow: tuple[str, ...]
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One row of the catalogue, or what a model folder says of itself.

    `native` is the side in pixels it was trained at. `timesteps`, if any, replace the scheduler's own
    for exactly `default_steps` steps. `transformer_config` is what config.json must agree with.
    `rank` tells the better of two models of one native size. `kv_ratio` is the KV compression the weights
    were trained with, 1 for none, `qk_norm` whether they norm queries and keys. `refine` is how it refines,
    None for a model that cannot.
    """

    name: str
    title: str
    family: str
    native: int
    default_steps: int
    default_guidance: float
    default_scheduler: str
    max_tokens: int
    transformer_config: Mapping[str, int | float | bool]
    parts: Mapping[str, Part]
    built_in: bool = False
    rank: int = 0
    approx_bytes: int | None = None
    license: str = "see the repository"
    timesteps: tuple[int, ...] = ()
    kv_ratio: int = 1
    qk_norm: bool = False
    default_guidance_until: float = 1.0
    refine: RefineSettings | None = None
    note: str = ""

    @property
    def distilled(self) -> bool:
        """Whether it learned to draw in few steps what its teacher drew in many, guidance included."""
        return self.default_scheduler == "lcm"

    @property
    def is_peer(self) -> bool:
        """Whether it is none of PixArt's, and a pipeline of diffusers draws with it."""
        return self.family in PEERS

    @property
    def components(self) -> tuple[str, ...]:
        """The names of its parts."""
        return components_of(self.family)


@cache
def catalog() -> Mapping[str, ModelSpec]:
    """Every known model by name, in the table's order."""
    data = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    shared = data.pop("shared")
    return MappingProxyType({name: _spec(name, row, shared) for name, row in data.items()})


def _spec(name: str, row: dict[str, Any], shared: Mapping[str, Any]) -> ModelSpec:
    values = dict(row)
    for key in ("steps", "guidance", "scheduler"):
        values[f"default_{key}"] = values.pop(key)
    values["default_guidance_until"] = values.pop("guidance_until", 1.0)
    values["transformer_config"] = MappingProxyType(values.pop("transformer", {}))
    values["timesteps"] = tuple(values.get("timesteps", ()))
    values["refine"] = _refine(values.get("refine"))
    values["parts"] = _parts(values["family"], values.pop("parts", {}), shared.get(values.pop("rest", "")))
    return ModelSpec(name=name, **values)


def _refine(row: dict[str, Any] | None) -> RefineSettings | None:
    """A catalogue row's `refine`, its lists as tuples."""
    if row is None:
        return None
    values = row | {key: tuple(row[key]) for key in ("strengths", "steps")}
    return RefineSettings(**values)


def _parts(family: str, own: Mapping[str, Any], rest: Mapping[str, Any] | None) -> Mapping[str, Part]:
    if rest is None:
        return MappingProxyType({})
    rows = {component: own.get(component, rest) for component in components_of(family)}
    return MappingProxyType({
        component: Part(
            row["repo"], row.get("subfolder", component), needed_files(family, component),
            tuple(row.get("also", ())),
        )
        for component, row in rows.items()
    })  # fmt: skip


def get_model(name: str) -> ModelSpec:
    """The catalogue's row `name`.

    Raises:
        PixartError: "model-unknown", with what may have been meant.
    """
    if name in catalog():
        return catalog()[name]
    close = get_close_matches(name.lower(), list(catalog()), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Known: " + ", ".join(catalog()) + "."
    raise PixartError("model-unknown", f"no model is named {name!r}, and no folder either", hint)


def family_row(family: str) -> ModelSpec:
    """The first model of `family` ("sigma" or "alpha") that is fetched: its `parts` are the family's.

    Raises:
        KeyError: for another family.
    """
    rows = [spec for spec in catalog().values() if spec.parts and spec.family == family]
    if not rows:
        raise KeyError(family)
    return rows[0]


def default_model(installed: Collection[str], width: int | None = None, height: int | None = None) -> str:
    """The name of the best installed model for a picture of `width` x `height` (1024 x 1024 if not known).

    Any trained network beats the built-in one; then the one whose native size comes nearest to the picture's
    without drawing more than is needed; then rank. Passed over are names that are not in the catalogue, and
    models that are not PixArt's: those draw when they are named.
    """
    wanted = math.sqrt(width * height) if width and height else 1024.0
    needed = min((size for size in NATIVE_SIZES if size >= 0.9 * wanted), default=NATIVE_SIZES[-1])

    def merit(spec: ModelSpec) -> tuple[bool, int, int, int]:
        return not spec.built_in, min(spec.native, needed), spec.rank, -spec.native

    known = [catalog()[name] for name in installed if name in catalog() and not catalog()[name].is_peer]
    return max(known, key=merit, default=catalog()[BUILT_IN]).name


def is_folder(model: str) -> bool:
    """Whether `model` means a folder of weights and not a name of the catalogue."""
    return model not in catalog() and ("/" in model or "\\" in model or os.path.isdir(model))


def spec_of_folder(folder: Path) -> ModelSpec:
    """What a model folder in diffusers' layout says of itself: sizes, family and usual defaults.

    Reads only ``model_index.json`` and three configurations; `name` is the folder as given. A few-step model
    is known by its LCM scheduler, or by the catalogue's name for it under "_pixart_model" in that index.

    Raises:
        PixartError: "model-unknown" if there is no such folder, "weights-invalid" if it holds no such model,
            "model-missing" if it holds a part of one.
    """
    if not os.path.isdir(folder):
        raise PixartError("model-unknown", f"no model folder {str(folder)!r}", "See 'pixart models list'.")
    if not os.path.isfile(folder / "model_index.json"):
        raise _not_a_model(folder, "it holds no model_index.json")
    index = _read_json(folder / "model_index.json")
    if (peer := _PEER_PIPELINES.get(str(index.get("_class_name")))) is not None:
        title = f"the folder {folder.name}"
        return replace(catalog()[peer], name=str(folder), title=title, parts=MappingProxyType({}))
    config = _read_json(folder / "transformer" / "config.json")
    side = config.get("sample_size")
    if not isinstance(side, int) or side * _VAE_SCALE not in NATIVE_SIZES:
        raise _not_a_model(folder, f"its sample_size is {side!r}, not 32, 64, 128, 256 or 512")
    alpha = index.get("_class_name") == "PixArtAlphaPipeline"
    like = catalog()[_like(folder, index)]
    expected = {key: config[key] for key in _CHECKED if config.get(key) is not None}
    most = 120 if alpha else 300
    return ModelSpec(
        name=str(folder), title=f"the folder {folder.name}", family="alpha" if alpha else "sigma",
        native=side * _VAE_SCALE, default_steps=like.default_steps, default_guidance=like.default_guidance,
        default_guidance_until=like.default_guidance_until,
        default_scheduler=like.default_scheduler, timesteps=like.timesteps,
        max_tokens=_max_tokens(folder, most),
        transformer_config=MappingProxyType(expected), parts=MappingProxyType({}),
        kv_ratio=_kv_ratio(config.get("kv_compression")),
        qk_norm=_has_qk_norm(config.get("kv_compression")), refine=like.refine,
    )  # fmt: skip


def _max_tokens(folder: Path, most: int) -> int:
    """How much of a prompt is read: what the tokenizer says, `most` if that is less or it is elsewhere."""
    if not os.path.isdir(folder / "tokenizer"):
        return most
    tokens = _read_json(folder / "tokenizer" / "tokenizer_config.json").get("model_max_length")
    return min(tokens, most) if isinstance(tokens, int) and tokens > 0 else most


def _like(folder: Path, index: Mapping[str, Any]) -> str:
    """The model of the catalogue whose steps, guidance and scheduler a folder of weights is given."""
    said = index.get(LIKE)
    if said is not None:
        if said not in list(catalog()):
            raise _not_a_model(folder / "model_index.json", f"its {LIKE} {str(said)[:40]!r} is not known")
        return str(said)
    schedule = folder / "scheduler" / "scheduler_config.json"
    few = schedule.is_file() and _read_json(schedule).get("_class_name") == "LCMScheduler"
    return "lcm" if few else _USUAL


def _has_qk_norm(compression: Any) -> bool:
    return isinstance(compression, dict) and compression.get("qk_norm") is True


def _kv_ratio(compression: Any) -> int:
    """R of a configuration's `kv_compression`; 1 for none, and for what the loader will refuse."""
    ratio = compression.get("ratio") if isinstance(compression, dict) else None
    return ratio if type(ratio) is int and ratio > 0 else 1


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise _not_a_model(path.parent, f"{path.name} is too long")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _absent(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_model(path, f"{type(error).__name__}: {error}") from None
    if not isinstance(value, dict):
        raise _not_a_model(path, "it is no JSON object")
    return value


def _absent(path: Path) -> PixartError:
    return PixartError("model-missing", f"{path} is missing", _LAYOUT)


def _not_a_model(path: Path, why: str) -> PixartError:
    return PixartError("weights-invalid", f"{path}: not a PixArt model: {why}", _LAYOUT)
