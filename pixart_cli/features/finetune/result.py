"""The end of a run: a model folder that `gen --model` loads, or a LoRA for `gen --lora`, with its record."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli import __version__
from pixart_cli.core.catalog import LIKE
from pixart_cli.core.publish import link_folder, publish_folder
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.part_files import read_json, weight_files
from pixart_cli.features.finetune.plan import TrainPlan

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor

    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

RECORD: Final = "training.json"
SCHEMA: Final = "pixart.trained/1"
# What is larger is linked, not copied: T5-XXL has 19 GB.
_COPIED_BYTES: Final = 64 << 20
_PARTS: Final = ("tokenizer", "text_encoder", "scheduler")
_DTYPES: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def record_of(plan: TrainPlan, revision: str, steps: int) -> dict[str, Any]:
    """What a result says of how it came about: JSON data without paths of this machine."""
    config = plan.config.to_dict()
    for key in ("model", "data", "out", "cache", "vae", "class_data"):
        config[key] = Path(config[key]).name if config[key] else ""
    return {
        "schema": SCHEMA,
        "pixart": __version__,
        "model": config["model"],
        "weights": revision,
        "steps": steps,
        "pictures": len(plan.lessons),
        "batch": plan.team.whole,
        "native": plan.native,
        "prediction_type": plan.prediction_type,
        "learn_sigma": plan.learn_sigma,
        "config": config,
    }


def write_model(
    out: Path, plan: TrainPlan, network: PixArtSigmaTransformer2DModel, record: Mapping[str, Any]
) -> None:
    """Make the folder `out` in diffusers' layout, whole or not at all; one made by a run is replaced.

    Raises:
        PixartError: "disk", "output-invalid", or "config-invalid" when `export_dtype` is too small.
    """
    from pixart_cli.diffusion.conversion import WEIGHTS
    from pixart_cli.diffusion.tensor_file import save_tensors

    tensors = _cast(plan, network.state_dict(), _dtype(plan))
    config = json.loads(network.to_json_string())
    if network.kv_compression is None:  # then it is diffusers' own class, which other programs load
        config["_class_name"] = "PixArtTransformer2DModel"
        config.pop("kv_compression", None)
    library = "diffusers" if network.kv_compression is None else "pixart_cli"

    def fill(folder: Path) -> None:
        for part in _PARTS:
            _put(plan.installed.parts[part], folder / part)
        _put(plan.vae, folder / "vae")
        (folder / "transformer").mkdir()
        _write_json(folder / "transformer" / "config.json", config)
        save_tensors(tensors, folder / "transformer" / WEIGHTS, {"pixart": json.dumps(record)})
        _write_json(folder / "model_index.json", _index(plan, [library, config["_class_name"]]))
        _write_json(folder / RECORD, record)

    publish_folder(out, fill, marker=RECORD, force=True)


def write_adapter(
    out: Path,
    plan: TrainPlan,
    network: PixArtSigmaTransformer2DModel,
    lora: LoraConfig,
    record: Mapping[str, Any],
) -> None:
    """Make the folder `out` with peft's files, whole or not at all; "same" is float32, as it was learned.

    Raises:
        PixartError: "disk", or "config-invalid" when `export_dtype` is too small.
    """
    from pixart_cli.diffusion.training.adapters import lora_of, write_lora

    said = plan.config.export_dtype
    tensors = _cast(plan, lora_of(network), "float32" if said == "same" else said)

    def fill(folder: Path) -> None:
        write_lora(folder, tensors, lora, record)
        _write_json(folder / RECORD, record)

    publish_folder(out, fill, marker=RECORD, force=True)


def _cast(plan: TrainPlan, tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    import torch

    from pixart_cli.diffusion.finite import is_finite

    wanted: torch.dtype = getattr(torch, dtype)
    cast = {key: value.detach().to("cpu", wanted) for key, value in tensors.items()}
    for key, value in cast.items():
        if not is_finite(value):
            what = f"{key} holds numbers that are too large for {dtype}"
            raise plan.config.refuse("export_dtype", what, 'Set export_dtype = "bfloat16" or "float32".')
    return cast


def _dtype(plan: TrainPlan) -> str:
    """As said, or that of most weights of the model that was begun with."""
    if plan.config.export_dtype != "same":
        return plan.config.export_dtype
    files = weight_files(plan.installed.parts["transformer"])
    counted = Counter(entry.dtype for path in files for entry in read_header(path).values())
    return _DTYPES.get(counted.most_common(1)[0][0], "float32")


def _index(plan: TrainPlan, transformer: list[str]) -> dict[str, Any]:
    """model_index.json: the source's own where it has one, and whose usual way to draw the result keeps."""
    from pixart_cli.diffusion.configuration import model_index

    source = plan.installed.parts["transformer"].parent / "model_index.json"
    pipeline = "PixArtAlphaPipeline" if plan.spec.family == "alpha" else "PixArtSigmaPipeline"
    index = read_json(source) if source.is_file() else model_index(pipeline, ("", ""))
    if plan.spec.parts or plan.spec.built_in:  # of the catalogue
        index[LIKE] = plan.spec.name
    return index | {"transformer": transformer, "vae": ["diffusers", "AutoencoderKL"]}


def _put(source: Path, place: Path) -> None:
    """A copy of a small part, a link to a large one."""
    size = sum(path.stat().st_size for path in source.iterdir() if path.is_file())
    if size <= _COPIED_BYTES:
        shutil.copytree(source, place, copy_function=shutil.copyfile)
    else:
        link_folder(source, place)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
