"""A picture drawn again from its own record, and how near that comes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pixart_cli.core.catalog import catalog
from pixart_cli.core.encoder_bits import bits_for
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import check_init_image_of
from pixart_cli.core.kv_compression import check_kv_compression
from pixart_cli.core.lora import read_recorded
from pixart_cli.core.metadata import Record, read_record
from pixart_cli.core.peers import check_for_model
from pixart_cli.core.png import read_text
from pixart_cli.core.privacy import scrub
from pixart_cli.core.publish import publish
from pixart_cli.core.refine import check_refine_of
from pixart_cli.core.rendering import ProgressCallback, Renderer, Rendering
from pixart_cli.core.resolution import Size, choose_bin
from pixart_cli.core.settings import Job
from pixart_cli.diffusion.init_image import read_recorded_image
from pixart_cli.diffusion.lora_file import cached_lora, find_lora
from pixart_cli.features.generate import Order, plan_for, png_of, spec_of

if TYPE_CHECKING:
    from PIL.Image import Image

CLOSE_DB: Final = 40.0

Verdict = Literal["exact", "close", "different"]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """`psnr` in dB: infinite when exact, None when the sizes differ.

    `changed` holds, by name, the recorded facts that are not so today: (recorded, today).
    """

    verdict: Verdict
    psnr: float | None
    changed: dict[str, tuple[Any, Any]]
    rendering: Rendering
    order: Order


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """The files that a record names by their sha256 alone, and that whoever replays it has to name.

    `loras` are as for `gen`, scales left out; those in the hub's cache are found by their hash.
    """

    loras: tuple[str, ...] = ()
    init_image: Path | None = None


NO_SUPPLIES: Final = Supplies()


def order_of(
    path: Path, *, model: str | None, device: str, memory: str, supplies: Supplies = NO_SUPPLIES
) -> tuple[Order, Record]:
    """What to draw, and the record that says so. `model` replaces the recorded one.

    Raises:
        PixartError: "image-invalid", "metadata-missing", "metadata-invalid", "model-unknown",
            "request-invalid" when another `model` cannot do what is recorded, "lora-missing" or
            "init-image-missing" for a file that is not at hand, "init-image-invalid" for another picture.
    """
    record = read_record(path)
    request = record.request if model is None else dataclasses.replace(record.request, model=model)
    if model is None and request.model not in catalog():  # a picture names no folder of this machine
        hint = "Name the folder of that model with --model."
        what = f"{path}: drawn with {request.model!r}, which is in no catalogue"
        raise PixartError("model-unknown", what, hint)
    spec = spec_of(request.model)
    request = dataclasses.replace(
        request,
        text_encoder_bits=bits_for(request.text_encoder_bits, spec),
        guidance_until=1.0 if spec.is_peer else request.guidance_until,
    )
    check_for_model(
        request.to_dict(), spec, lora=bool(request.lora), init_image=bool(request.init_image),
        encoder_bits=request.text_encoder_bits,
    )  # fmt: skip
    check_kv_compression(request.kv_compression, spec)
    check_refine_of(request.refine, spec)
    if request.init_image:
        check_init_image_of(spec)
    size = Size(request.width, request.height, dpi=record.output["dpi"], name=record.output["name"])
    order = Order(
        jobs=(Job(request, size, record.output["preset"], 0, parent=record.parent),),
        paths=(path,),
        spec=spec,
        bin=choose_bin(request.width, request.height, spec.native),
        plan=plan_for(
            spec,
            request,
            device=device,
            memory=memory,
            compiled=record.provenance.get("compiled") is True,
        ),
        installed=True,
        files=_files(path, record, supplies),
    )
    return order, record


def _files(path: Path, record: Record, supplies: Supplies) -> dict[str, Path]:
    """Where the files lie that the request of the picture at `path` names."""
    given = {lora.recorded.sha256: lora for lora in map(find_lora, supplies.loras)}
    files = {}
    for wanted in read_recorded(record.request.lora):
        lora = given.pop(wanted.sha256, None)
        place = cached_lora(wanted.sha256) if lora is None else lora.path
        if place is None:
            what = f"{path}: drawn with a LoRA that is not at hand, sha256 {wanted.sha256}"
            raise PixartError("lora-missing", what, "Name its file with --lora.")
        files[wanted.sha256] = place
    for lora in given.values():
        what = f"{path}: was not drawn with the LoRA {lora.name} (sha256 {lora.recorded.sha256})"
        raise PixartError("usage", what, "Leave it out, or name the one that was used.")
    return files | _init_image(path, record.request.init_image, supplies.init_image)


def _init_image(path: Path, sha256: str, given: Path | None) -> dict[str, Path]:
    if not sha256:
        if given is not None:
            what = f"{path}: was not drawn from an init image"
            raise PixartError("usage", what, "Leave --init-image out.")
        return {}
    if given is None:
        what = f"{path}: drawn from an init image that is not at hand, sha256 {sha256}"
        raise PixartError("init-image-missing", what, "Name its file with --init-image.")
    read_recorded_image(sha256, given)
    return {sha256: given}


def replay(
    path: Path, order: Order, record: Record, *, renderer: Renderer, on_progress: ProgressCallback
) -> Replay:
    """Draw `order` again and hold it against the pixels of `path`.

    Raises:
        PixartError: "image-invalid" if the pixels of `path` cannot be read, or as `Renderer.render` does.
    """
    request = order.jobs[0].request
    before = read_pixels(path, (request.width, request.height))
    (rendering,) = renderer.render([request], on_progress=on_progress)
    psnr = None if before is None else peak_signal_to_noise(before, rendering.pixels)
    return Replay(
        verdict=verdict_of(psnr),
        psnr=psnr,
        changed=changed_facts(record.provenance, scrub(rendering.provenance)),
        rendering=rendering,
        order=order,
    )


def keep(result: Replay, path: Path, *, force: bool) -> None:
    """Write the picture drawn again to `path`, with its record.

    Raises:
        PixartError: "output-exists" or "disk".
    """
    publish(png_of(result.rendering, result.order.jobs[0], "full"), path, force=force)


def verdict_of(psnr: float | None) -> Verdict:
    """The word for `psnr` in dB."""
    if psnr is None or psnr < CLOSE_DB:
        return "different"
    return "exact" if math.isinf(psnr) else "close"


def read_pixels(path: Path, size: tuple[int, int]) -> Image | None:
    """The RGB pixels of `path`, or None, nothing decoded, if its `size` (width, height) is another.

    Raises:
        PixartError: "image-invalid" when they are damaged or cut short.
    """
    from PIL import Image

    header = read_text(path)
    if (header.width, header.height) != size:
        return None
    kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # it guards those who expect no size
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        hint = "The file is damaged; take the original."
        raise PixartError("image-invalid", f"{path}: its pixels cannot be read: {error}", hint) from None
    finally:
        Image.MAX_IMAGE_PIXELS = kept


def peak_signal_to_noise(first: Image, second: Image) -> float:
    """10 log10(255² / mean squared error) in dB over all channels of two RGB pictures of one size."""
    from PIL import ImageChops, ImageStat

    squares = ImageStat.Stat(ImageChops.difference(first, second)).sum2
    error = sum(squares) / (len(squares) * first.width * first.height)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def changed_facts(recorded: Mapping[str, Any], today: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The facts that differ, by dotted name: (recorded, today); None where one side has none."""
    before, now = dict(_flat(recorded)), dict(_flat(today))
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found
