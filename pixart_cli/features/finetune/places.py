"""Where a training reads and writes, checked before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.publish import try_folder
from pixart_cli.features.finetune.config import TrainConfig

RESULT: Final = re.compile(r"(model|lora)(-[0-9]{8})?")


def check_places(config: TrainConfig) -> None:
    """Refuse an `out` that cannot be written to, or where what is read lies.

    Samples would be learned from, and the source be replaced.

    Raises:
        PixartError: "config-invalid" or "disk", naming the line.
    """
    out = _writable(config)
    for key in ("data", "class_data"):
        folder = getattr(config, key)
        if folder and Path(folder).resolve() in (out, *out.parents):
            hint = f"Name a folder outside of {folder}."
            raise config.refuse("out", f"out lies in {key}: its pictures would be learned from", hint)
    for key, what in (("model", "the model that is trained"), ("vae", "the VAE that is trained with")):
        source = getattr(config, key)
        if source and _would_be_replaced(Path(source).resolve(), out):
            raise config.refuse("out", f"out holds {what}", "Name another folder.")


def _would_be_replaced(source: Path, out: Path) -> bool:
    """Whether `source` is `out`, or lies where a run there writes results, or removes earlier ones."""
    if source == out:
        return True
    return out in source.parents and RESULT.fullmatch(source.relative_to(out).parts[0]) is not None


def _writable(config: TrainConfig) -> Path:
    """The folder for the results, that it can be written to seen."""
    out = Path(config.out).resolve()
    there = next(each for each in (out, *out.parents) if each.exists())
    if not there.is_dir():
        raise config.refuse("out", f"{there} is a file, no folder", "Name another folder.", code="disk")
    try:
        try_folder(out)
    except PixartError as error:
        hint = "Name a folder you may write to."
        raise config.refuse("out", error.message, hint, code=error.code) from error
    return out


def result_path(config: TrainConfig, step: int | None = None) -> Path:
    """Where the result will be; with `step`, what is exported after so many steps."""
    return _named(config, "lora" if config.method == "lora" else "model", step)


def _named(config: TrainConfig, name: str, step: int | None) -> Path:
    return Path(config.out) / (name if step is None else f"{name}-{step:08d}")
