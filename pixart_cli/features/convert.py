"""An original checkpoint (.pth) → a model folder that `gen --model` and other programs load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.catalog import NATIVE_SIZES, family_row
from pixart_cli.core.components import SHARED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import trained_compression
from pixart_cli.core.paths import here
from pixart_cli.core.publish import link_folder, publish_folder, refuse_folder
from pixart_cli.diffusion.part_files import missing_files
from pixart_cli.diffusion.weights import find_part

if TYPE_CHECKING:
    from pixart_cli.diffusion.checkpoint import Anatomy
    from pixart_cli.diffusion.conversion import Identity

_MARKER: Final = "model_index.json"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is said of a checkpoint and of its folder; None where the checkpoint shall tell.

    Attributes:
        family: "sigma" or "alpha".
        image_size: pixels a side that it was trained at.
        kv_compression: "SAMPLING:R:LAYERS", for compression that has no weights.
        num_heads: attention heads; 72 wide each unless said.
        averaged: whether to take the averaged (EMA) weights of a training checkpoint.
        dtype: "float32", "float16" or "bfloat16"; None keeps each tensor's.
        parts: a folder that holds tokenizer, text_encoder and vae; None: the shared cache.
    """

    family: str | None = None
    image_size: int | None = None
    kv_compression: str | None = None
    num_heads: int | None = None
    averaged: bool = False
    dtype: str | None = None
    parts: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A model folder that now exists at `path`, and what was found in the checkpoint.

    `parts` are where tokenizer, text encoder and VAE were found, None for those that were not;
    `has_averaged` whether the checkpoint also held averaged weights; `remarks` what was taken for granted.
    """

    path: Path
    identity: Identity
    anatomy: Anatomy
    heads: int
    kv_compression: Mapping[str, Any] | None
    parameters: int
    dtypes: tuple[str, ...]
    parts: Mapping[str, Path | None]
    has_averaged: bool
    remarks: tuple[str, ...]


def convert(checkpoint: Path, out: Path, wish: Wish, *, force: bool = False) -> Converted:
    """Write the network in `checkpoint` to the folder `out`, whole or not at all, and say what it is.

    Nothing in `checkpoint` is ever run. `force` replaces a model folder of that name.

    Raises:
        PixartError: "request-invalid" for a wish that the checkpoint cannot fulfil, or that it needs;
            "weights-invalid" when it is damaged, unsafe, or not PixArt's; "output-exists", "output-invalid",
            "model-missing" for `wish.parts`, "disk".
    """
    said = trained_compression(wish.kv_compression) if wish.kv_compression else None
    out = here() / out
    refuse_folder(out, marker=_MARKER, force=force)
    _refuse_inside(out, checkpoint, wish.parts)
    from pixart_cli.diffusion import conversion
    from pixart_cli.diffusion.checkpoint import read_anatomy
    from pixart_cli.diffusion.torch_file import read_torch_file, weights_of

    state, has_averaged = weights_of(checkpoint, read_torch_file(checkpoint), averaged=wish.averaged)
    anatomy = read_anatomy(checkpoint, state)
    identity = conversion.identify(checkpoint, anatomy, family=wish.family, image_size=wish.image_size)
    heads = conversion.heads_of(anatomy, wish.num_heads)
    compression = conversion.compression_of(anatomy, said)
    config = conversion.network_config(anatomy, identity, heads, compression)
    model = conversion.build(checkpoint, state, anatomy, config)
    parts = _find_parts(identity.family, wish.parts)
    state = conversion.in_dtype(checkpoint, state, wish.dtype)

    def fill(folder: Path) -> None:
        conversion.write_model(folder, model, state, anatomy, family=identity.family)
        for component, source in parts.items():
            if source is not None:
                link_folder(source, folder / component)

    publish_folder(out, fill, marker=_MARKER, force=force)
    return Converted(
        path=out, identity=identity, anatomy=anatomy, heads=heads, kv_compression=compression,
        parameters=sum(value.numel() for value in model.state_dict().values()),
        dtypes=tuple(sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})),
        parts=parts, has_averaged=has_averaged, remarks=(*identity.remarks, *_unusual(identity.image_size)),
    )  # fmt: skip


def _refuse_inside(out: Path, checkpoint: Path, parts: Path | None) -> None:
    """What is read must not lie in the folder that may be replaced."""
    for path in (checkpoint, parts):
        if path is not None and out.resolve() in (path.resolve(), *path.resolve().parents):
            raise PixartError("output-invalid", f"{path} lies in {out}", "Name another folder with --out.")


def _find_parts(family: str, source: Path | None) -> dict[str, Path | None]:
    """Where tokenizer, text encoder and VAE are: in `source`, which must have them, or the shared cache."""
    if source is None:
        row = family_row(family)
        return {component: find_part(component, row.parts[component]) for component in SHARED}
    absent = [name for component in SHARED for name in missing_files(component, source / component)]
    if absent:
        hint = "Name a folder in diffusers' layout with --parts, or leave it out."
        raise PixartError("model-missing", f"{source} has no {', '.join(absent[:3])}", hint)
    return {component: source / component for component in SHARED}


def _unusual(image_size: int) -> tuple[str, ...]:
    if image_size in NATIVE_SIZES:
        return ()
    sizes = ", ".join(map(str, NATIVE_SIZES))
    return (f"pixart draws with models of {sizes} px; this one of {image_size} px is for other programs",)
