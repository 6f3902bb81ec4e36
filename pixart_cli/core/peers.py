"""What can be asked of a model that is not PixArt's, and of PixArt's that only the others can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core import kv_compression, refine
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import SCHEDULERS

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec

_SETTINGS: Final = {"--direct": "refine"}  # of options that go by another name
# The settings of what only PixArt's networks can do, as they are where nothing of it is asked for.
LEFT_OUT: Final[Mapping[str, Any]] = {
    "encoder_bits": UNQUANTISED, "guidance_until": None, "kv_compression": kv_compression.OFF, "lora": (),
    "init_image": None, "strength": None,
}  # fmt: skip
_ONE_STEP: Final = "lcm"
_WUERSTCHEN: Final = "wuerstchen"


def schedulers_of(spec: ModelSpec) -> tuple[str, ...]:
    """The sampling rules that the weights of `spec` can be drawn with."""
    if spec.family == "cascade":
        return (_WUERSTCHEN,)
    without = {_WUERSTCHEN, _ONE_STEP} if spec.is_peer else {_WUERSTCHEN}
    return tuple(name for name in SCHEDULERS if name not in without)


def check_for_model(
    values: Mapping[str, Any],
    spec: ModelSpec,
    *,
    lora: bool,
    init_image: bool,
    encoder_bits: int = UNQUANTISED,
    told_by: Callable[[str], AbstractContextManager[None]] = lambda _key: nullcontext(),
) -> None:
    """Refuse what `spec` cannot do; `values` are settings, and `told_by` names where a setting came from.

    Raises:
        PixartError: "request-invalid" saying what it can do.
    """
    scheduler = values["scheduler"]
    if scheduler is not None and scheduler not in schedulers_of(spec):
        what = f"{spec.name} cannot be drawn with scheduler {scheduler}"
        with told_by("scheduler"):
            raise PixartError("request-invalid", what, f"It can with {', '.join(schedulers_of(spec))}.")
    if not spec.is_peer:
        return
    asked = {
        "--lora": lora,
        "--init-image": init_image,
        "--guidance-until": values["guidance_until"] not in (None, 1.0),
        "--direct": values["refine"] == refine.DIRECT,
        "--kv-compression": values["kv_compression"] not in (kv_compression.OFF, kv_compression.AUTO),
        "--encoder-bits": encoder_bits != UNQUANTISED,
    }
    for option in (option for option, there in asked.items() if there):
        what = f"{option} is for PixArt's networks; {spec.name} is {spec.title}"
        with told_by(_SETTINGS.get(option, option.removeprefix("--").replace("-", "_"))):
            raise PixartError("request-invalid", what, f"Leave {option} out, or choose another model.")
