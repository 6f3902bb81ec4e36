"""`--refine`: how a picture grows from the size its network was trained at to the size asked for.

Off, a base picture is enlarged. Else passes follow it: enlarged at most twice in pixels, noised a little,
denoised in windows of the trained size, so that detail is drawn at every pixel.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec
    from pixart_cli.core.resolution import Bin

OFF: Final = "off"
AUTO: Final = "auto"
DIRECT: Final = "direct"
SHORTHANDS: Final = {"draft": OFF, "direct": DIRECT}  # options without a value
MOST_PASSES: Final = 8
LEAST_STRENGTH, MOST_STRENGTH = 0.05, 4.0
# Less enlargement than this is not worth a pass: Lanczos keeps what there is.
LEAST_FACTOR: Final = 1.25
_T = TypeVar("_T")
_TOKEN_PIXELS: Final = 16
_COUNT: Final = re.compile(r"[1-9]")
_STRENGTH: Final = re.compile(r"[0-9]{1,2}\.[0-9]{1,4}")
_EXPECTED: Final = (
    f"Expected off, auto, direct, a number of passes from 1 to {MOST_PASSES}, or a strength with a point,"
    f" {LEAST_STRENGTH} to {MOST_STRENGTH}."
)


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """How a model refines; a row of the catalogue.

    Attributes:
        strengths: σ/α of the noise that each pass starts from; the last holds for all that follow.
        steps: denoising steps of a pass, the same way.
        guidance_until: the share of a pass's steps, from the first, that are guided.
        flat: latents that differ from their neighbours by less than this are left as they are; 0 redraws
            everything.
    """

    strengths: tuple[float, ...]
    steps: tuple[int, ...]
    guidance_until: float = 1.0
    flat: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One refinement to `width` x `height` pixels, multiples of 16, from noise of σ/α = `strength`."""

    width: int
    height: int
    strength: float
    steps: int
    guidance_until: float
    flat: float


def check_refine(value: str, source: str) -> None:
    """Refuse what `--refine` does not know.

    Raises:
        PixartError: "request-invalid" naming `source` and what may be asked for.
    """
    if value in (OFF, AUTO, DIRECT) or (_COUNT.fullmatch(value) and int(value) <= MOST_PASSES):
        return
    if _STRENGTH.fullmatch(value) and LEAST_STRENGTH <= float(value) <= MOST_STRENGTH:
        return
    shown = value if len(value) <= 40 else value[:37] + "..."
    raise PixartError("request-invalid", f"{source}: refine cannot be {shown!r}", _EXPECTED)


def check_refine_of(value: str, spec: ModelSpec) -> None:
    """Refuse passes that the model `spec` cannot make.

    Raises:
        PixartError: "request-invalid" saying what it can do.
    """
    if spec.refine is not None or value in (OFF, AUTO, DIRECT):
        return
    what = f"{spec.name} cannot be drawn with refine {value}: it knows no low noise levels"
    raise PixartError("request-invalid", what, "Leave the option out, or choose another model.")


def plan_passes(value: str, spec: ModelSpec, native: Bin, width: int, height: int) -> tuple[Pass, ...]:
    """The passes between a base picture of `native` and `width` x `height` delivered pixels.

    Sizes double from pass to pass; the factor that is left over, and the crop, come last. Fewer passes
    than that needs begin with a greater enlargement. None where the base is large enough as it is.
    """
    settings = spec.refine
    factor = max(width / native.width, height / native.height)
    if settings is None or value in (OFF, DIRECT) or factor < LEAST_FACTOR:
        return ()
    needed = max(1, math.ceil(math.log2(factor) - 1e-9))
    count = min(needed, int(value)) if _COUNT.fullmatch(value) else needed
    scale = float(value) / settings.strengths[0] if _STRENGTH.fullmatch(value) else 1.0
    sizes = [(native.width << i, native.height << i) for i in range(needed - count + 1, needed)]
    sizes.append((_whole(width), _whole(height)))
    return tuple(
        Pass(
            width=size[0],
            height=size[1],
            strength=round(_at(settings.strengths, index) * scale, 4),
            steps=_at(settings.steps, index),
            guidance_until=settings.guidance_until,
            flat=settings.flat,
        )
        for index, size in enumerate(sizes)
    )


def base_size(value: str, native: Bin, width: int, height: int) -> tuple[int, int]:
    """What is drawn first, (width, height): the native bin, or the whole size where that is asked for."""
    return direct_size(width, height) if value == DIRECT else (native.width, native.height)


def direct_size(width: int, height: int) -> tuple[int, int]:
    """The least size that holds `width` x `height` in whole tokens."""
    return _whole(width), _whole(height)


def _whole(side: int) -> int:
    return -(-side // _TOKEN_PIXELS) * _TOKEN_PIXELS


def _at(values: tuple[_T, ...], index: int) -> _T:
    return values[min(index, len(values) - 1)]
