"""What a PNG says of itself, read without decoding a single pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixart_cli.core import infotext, metadata
from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import read_recorded
from pixart_cli.core.metadata import Record
from pixart_cli.core.png import PngText, read_text
from pixart_cli.core.prompt_writer import write_job
from pixart_cli.core.recorded_job import options_of, options_of_settings
from pixart_cli.diffusion.init_image import read_init_image
from pixart_cli.diffusion.lora_file import cached_lora, find_lora


@dataclass(frozen=True, kw_only=True)
class Description:
    """One picture. `record` is ours, `settings` are those of another program's `parameters` text.

    `width` and `height` are the file's own, in pixels; `parameters` is that text as it stands.
    """

    path: Path
    width: int
    height: int
    dpi: float | None
    record: Record | None
    settings: dict[str, Any] | None
    parameters: str | None


def describe(path: Path) -> Description:
    """What the picture at `path` says.

    Raises:
        PixartError: "image-invalid" or "disk"; "metadata-missing" when it says nothing; "metadata-invalid"
            when it holds a record of ours that cannot be believed.
    """
    png = read_text(path)
    parameters = png.texts.get("parameters")
    ours = metadata.KEY in png.texts
    if not ours and parameters is None:
        hint = "Pictures drawn by pixart do, and those of programs that write 'parameters'."
        raise PixartError("metadata-missing", f"{path}: does not say how it was made", hint)
    return Description(
        path=path,
        width=png.width,
        height=png.height,
        dpi=png.dpi,
        record=metadata.load(png.texts[metadata.KEY], source=str(path)) if ours else None,
        settings=None if ours else _foreign(png),
        parameters=parameters,
    )


def _foreign(png: PngText) -> dict[str, Any] | None:
    """The settings in another program's text, as far as it follows the usual form."""
    try:
        return infotext.parse(png.texts["parameters"])
    except PixartError:
        return None


def places_of(loras: Sequence[str], init_images: Sequence[Path]) -> dict[str, str]:
    """Where the files lie that records name, by their sha256.

    Raises:
        PixartError: "lora-missing", "weights-invalid", "init-image-missing", "init-image-invalid" or "disk".
    """
    found = {lora.recorded.sha256: str(lora.path) for lora in map(find_lora, loras)}
    return found | {read_init_image(path)[0].sha256: str(path) for path in init_images}


def job_of(description: Description, places: Mapping[str, str]) -> str:
    """The lines of a prompt list that ask for the picture again, a comment with its name above them.

    `places` names files by their sha256; LoRAs in the hub's cache are found without.

    Raises:
        PixartError: "metadata-missing" when no prompt is known; "lora-missing" or "init-image-missing".
    """
    record, settings, name = description.record, description.settings, str(description.path)
    try:
        if record is not None:
            options = options_of(record, _cached(record) | dict(places))
            return write_job(record.request.prompt, options, comment=name)
    except PixartError as error:
        raise PixartError(error.code, f"{name}: {error.message}", error.hint) from None
    if settings is None or not settings["prompt"].strip():
        hint = "Pictures drawn by pixart name one, and those of programs that write 'parameters'."
        raise PixartError("metadata-missing", f"{name}: names no prompt", hint)
    comment = f"{name}, of another program, whose model is not named"
    return write_job(settings["prompt"], options_of_settings(settings), comment=comment)


def _cached(record: Record) -> dict[str, str]:
    hashes = [each.sha256 for each in read_recorded(record.request.lora)]
    found = {sha256: cached_lora(sha256) for sha256 in hashes}
    return {sha256: str(path) for sha256, path in found.items() if path is not None}
