"""`pixart models convert`: an original checkpoint becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import Printer, as_typed
from pixart_cli.core.catalog import family_row

if TYPE_CHECKING:
    from pixart_cli.features.convert import Converted

SCHEMA: Final = "pixart.convert/1"
_FAMILIES: Final = {"sigma": "PixArt-Σ", "alpha": "PixArt-α"}


Checkpoint = Annotated[
    Path, typer.Argument(metavar="FILE.pth", help="A checkpoint as PixArt's authors save it.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The model folder to make.")]
Family = Annotated[
    Literal["sigma", "alpha"] | None,
    typer.Option("--family", help="Which PixArt it is, where neither name nor tensors tell."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", metavar="N", min=1, help="Pixels a side that it was trained at.")
]
KvCompression = Annotated[
    str | None,
    typer.Option(
        "--kv-compression",
        metavar="SAMPLING:R:LAYERS",
        help="Compression that has no weights, as uniform:2:14-27; conv is seen.",
    ),
]
NumHeads = Annotated[
    int | None, typer.Option("--num-heads", metavar="N", min=1, help="Attention heads. [width / 72]")
]
Ema = Annotated[bool, typer.Option("--ema", help="Take the averaged weights of a training checkpoint.")]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option("--dtype", help="Precision to write; kept unless given."),
]
Parts = Annotated[
    Path | None,
    typer.Option(
        "--parts",
        metavar="DIR",
        help="Folder with tokenizer, text_encoder and vae. [the Hugging Face cache]",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace a model folder of that name.")]


def convert(
    context: typer.Context,
    file: Checkpoint,
    out: Out,
    family: Family = None,
    image_size: ImageSize = None,
    kv_compression: KvCompression = None,
    num_heads: NumHeads = None,
    ema: Ema = False,
    dtype: Dtype = None,
    parts: Parts = None,
    force: Force = False,
    json: options.AsJson = False,
) -> None:
    """Convert an original checkpoint into a model folder. No code in the file is ever run.

    \b
    Examples:
      pixart models convert PixArt-Sigma-XL-2-1024-MS.pth --out sigma/
      pixart models convert epoch_5_step_20000.pth --ema --image-size 512 --out mine/
    """
    printer = door_of(context, as_json=json).printer
    from pixart_cli.features.convert import Wish
    from pixart_cli.features.convert import convert as convert_file

    wish = Wish(
        family=family, image_size=image_size, kv_compression=kv_compression, num_heads=num_heads,
        averaged=ema, dtype=dtype, parts=parts,
    )  # fmt: skip
    found = convert_file(file, out, wish, force=force)
    for remark in found.remarks:
        printer.warn(remark)
    printer.say(_sentence(found))
    _advise(printer, found, averaged=ema)
    printer.path(as_typed(found.path, str(out)))
    printer.document(SCHEMA, **_dict(found, averaged=ema))


def _sentence(found: Converted) -> str:
    anatomy, identity = found.anatomy, found.identity
    words = [
        f"{_FAMILIES[identity.family]} at {identity.image_size} px",
        f"{anatomy.depth} blocks {anatomy.width} wide with {found.heads} heads",
        f"{found.parameters:,} parameters in {' and '.join(found.dtypes)}",
        _compression(found),
        "size and aspect ratio are told" if anatomy.micro_conditions else "",
        "queries and keys are normed" if anatomy.qk_norm else "",
    ]
    return ", ".join(word for word in words if word)


def _compression(found: Converted) -> str:
    kv = found.kv_compression
    if kv is None or not kv["layers"]:
        return "no KV compression"
    return f"KV compression {kv['sampling']} by {kv['ratio']} in {len(kv['layers'])} blocks"


def _advise(printer: Printer, found: Converted, *, averaged: bool) -> None:
    if found.has_averaged and not averaged:
        printer.hint("the file also holds averaged weights, which often draw better: --ema takes them")
    absent = [component for component, folder in found.parts.items() if folder is None]
    if absent:
        pull = f"pixart models pull {family_row(found.identity.family).name}"
        printer.hint(f"{', '.join(absent)} are not on this machine: `{pull}`, and the folder draws")


def _dict(found: Converted, *, averaged: bool) -> dict[str, Any]:
    anatomy, identity = found.anatomy, found.identity
    return {
        "path": str(found.path),
        "family": identity.family,
        "image_size": identity.image_size,
        "sample_size": identity.sample_size,
        "interpolation_scale": identity.interpolation_scale,
        "depth": anatomy.depth,
        "width": anatomy.width,
        "heads": found.heads,
        "caption_channels": anatomy.caption_channels,
        "micro_conditions": anatomy.micro_conditions,
        "qk_norm": anatomy.qk_norm,
        "kv_compression": found.kv_compression,
        "parameters": found.parameters,
        "dtype": list(found.dtypes),
        "ema": averaged,
        "parts": {component: str(folder) if folder else None for component, folder in found.parts.items()},
    }
