"""The one declared table: option ↔ request field ↔ metadata key.

The door (`cli`), presets, configuration files, the PNG writer, the PNG reader, `replay` and the
documentation are all driven by :data:`FIELDS`; a test walks it. A new knob is one new row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pixart_cli.core import kv_compression
from pixart_cli.core.encoder_bits import BITS, UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import check_init_image
from pixart_cli.core.lora import check_lora
from pixart_cli.core.refine import check_refine

SCHEDULERS: Final = ("dpm++", "dpm++-sde", "euler", "euler-a", "ddim", "unipc", "lcm", "wuerstchen")
MAX_SIDE: Final = 32768
MAX_PROMPT_BYTES: Final = 65536


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value that decides the pixels.

    `name` is the attribute of `GenerationRequest` and the JSON key in the PNG; `key` the short word
    of the option, of TOML files and of ``PIXART_<KEY>``; `infotext` the key in A1111's text.
    `default` is None where the value comes from the model, the size or chance. `late` ones came when there
    were pictures already: at their default they are no part of a fingerprint, so that it stays theirs.
    """

    name: str
    key: str
    kind: type[str] | type[int] | type[float]
    infotext: str
    help: str
    default: str | int | float | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | tuple[int, ...] = ()
    late: bool = False

    def check(self, value: Any, *, source: str = "request") -> Any:
        """`value` as this field's kind.

        Raises:
            PixartError: "request-invalid" naming `source`, the key and what is allowed.
        """
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = _as_float(value)
        if not isinstance(value, self.kind) or isinstance(value, bool):
            raise self._refuse(value, f"expected {_KIND_NAMES[self.kind]}", source)
        if self.choices and value not in self.choices:
            raise self._refuse(value, "expected one of " + ", ".join(map(str, self.choices)), source)
        if isinstance(value, (int, float)):
            self._check_range(value, source)
        if self.name in _SPECIAL:
            _SPECIAL[self.name](str(value), source)
        return value

    def _check_range(self, value: float, source: str) -> None:
        if value != value or value in (float("inf"), float("-inf")):
            raise self._refuse(value, "expected a finite number", source)
        if self.minimum is not None and value < self.minimum:
            raise self._refuse(value, f"the least is {shown(self.minimum)}", source)
        if self.maximum is not None and value > self.maximum:
            raise self._refuse(value, f"the most is {shown(self.maximum)}", source)

    def _refuse(self, value: Any, why: str, source: str) -> PixartError:
        return PixartError(
            "request-invalid", f"{source}: {self.key} cannot be {shown(value)}", f"{why[0].upper()}{why[1:]}."
        )


def _as_float(value: int) -> float:
    """`value`, and infinity where no float is as large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: Any) -> str:
    """At most 60 characters that say `value`, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return f"{value:g}"
    try:
        text = repr(value)
    except ValueError:  # Python spells out 4300 digits at most
        return "a number that long"
    return text if len(text) <= 60 else text[:57] + "..."


_SPECIAL: Final[Mapping[str, Callable[[str, str], None]]] = {
    "refine": check_refine, "lora": check_lora, "init_image": check_init_image,
}  # fmt: skip
_KIND_NAMES: Final = {str: "text", int: "a whole number", float: "a number"}

FIELDS: Final = (
    Field(name="prompt", key="prompt", kind=str, infotext="prompt", help="what to draw"),
    Field(name="negative_prompt", key="negative", kind=str, infotext="Negative prompt", default="",
          help="what to steer away from"),
    Field(name="model", key="model", kind=str, infotext="Model", help="a model's name, or a folder"),
    Field(name="width", key="width", kind=int, infotext="Size", minimum=16, maximum=MAX_SIDE,
          help="delivered width in pixels"),
    Field(name="height", key="height", kind=int, infotext="Size", minimum=16, maximum=MAX_SIDE,
          help="delivered height in pixels"),
    Field(name="num_inference_steps", key="steps", kind=int, infotext="Steps", minimum=1, maximum=1000,
          help="denoising steps"),
    Field(name="guidance_scale", key="guidance", kind=float, infotext="CFG scale", minimum=0.0, maximum=100.0,
          help="how strictly to follow the prompt; 1 is off"),
    Field(name="scheduler", key="scheduler", kind=str, infotext="Sampler", choices=SCHEDULERS,
          help="the sampling rule"),
    Field(name="seed", key="seed", kind=int, infotext="Seed", minimum=0, maximum=2**63 - 1,
          help="the number the noise is drawn from"),
    Field(name="kv_compression", key="kv_compression", kind=str, infotext="KV compression", default="off",
          choices=kv_compression.CHOICES,
          help="average keys and values over RxR tokens in the deep layers: faster, not exact"),
    Field(name="refine", key="refine", kind=str, infotext="Refine", default="off",
          help="detail beyond the trained size: auto, off, direct, a number of passes, or a strength as 0.8"),
    Field(name="lora", key="lora", kind=str, infotext="Lora", default="",
          help="a LoRA to merge in: a safetensors file, folder or hub name, FILE:SCALE to weigh it"),
    Field(name="init_image", key="init_image", kind=str, infotext="Init image", default="",
          help="a picture to start from instead of noise alone"),
    Field(name="strength", key="strength", kind=float, infotext="Denoising strength", default=1.0,
          minimum=0.001, maximum=1.0,
          help="how much of the init image is drawn anew, over 0 to 1; 0.6 unless given"),
    Field(name="text_encoder_bits", key="encoder_bits", kind=int, infotext="Text encoder bits",
          default=UNQUANTISED, choices=BITS, late=True,
          help="bits of the text encoder's weights: 8 and 4 are approximations and need the extra quant"),
    Field(name="guidance_until", key="guidance_until", kind=float, infotext="Guidance until", default=1.0,
          minimum=0.0, maximum=1.0, late=True,
          help="the share of the steps, from the first, that are guided; the others take half the time."
          " Passes of --refine have their model's own"),
)  # fmt: skip

BY_NAME: Final = {field.name: field for field in FIELDS}
BY_KEY: Final = {field.key: field for field in FIELDS}
