"""`GenerationRequest`: everything that decides the pixels, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_NAME, FIELDS, MAX_PROMPT_BYTES


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One picture asked for, every value set. No device, dtype or path: those do not change what is asked.

    `width` and `height` are delivered pixels. Files are named by their sha256. Field by field the table is
    `core/fields.py`.

    Raises:
        PixartError: "request-invalid" or "prompt-invalid" when a value is of the wrong type or range.
    """

    prompt: str
    negative_prompt: str = ""
    model: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    seed: int
    kv_compression: str = "off"
    refine: str = "off"
    lora: str = ""
    init_image: str = ""
    strength: float = 1.0
    text_encoder_bits: int = UNQUANTISED
    guidance_until: float = 1.0

    def __post_init__(self) -> None:
        for field in FIELDS:
            object.__setattr__(self, field.name, field.check(getattr(self, field.name)))
        check_text(self.prompt, "prompt")
        check_text(self.negative_prompt, "negative prompt")
        if not self.prompt.strip():
            raise PixartError("prompt-invalid", "the prompt is empty", "Say what to draw, in quotes.")
        if not self.init_image and self.strength != 1.0:
            what = f"strength {self.strength:g} says how much of an init image is drawn anew; there is none"
            raise PixartError("request-invalid", what, "Name the picture with --init-image.")

    @property
    def fingerprint(self) -> str:
        """Hex of the sha256 over canonical JSON: equal exactly when two requests ask for the same picture."""
        return fingerprint_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, in the table's order."""
        return {field.name: getattr(self, field.name) for field in FIELDS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "request") -> GenerationRequest:
        """The request that `values` spells out by field name; serves TOML, JSONL and PNG alike.

        Raises:
            PixartError: "request-invalid" naming `source` for an unknown or missing key or a wrong value.
        """
        for name in values:
            refuse_unknown(name, BY_NAME, source=source, code="request-invalid")
        missing = [f.name for f in FIELDS if f.name not in values and f.default is None]
        if missing:
            raise PixartError(
                "request-invalid", f"{source}: {', '.join(missing)} missing", "Name every field."
            )
        return cls(**{name: BY_NAME[name].check(value, source=source) for name, value in values.items()})


def fingerprint_of(values: Mapping[str, Any]) -> str:
    """Hex of the sha256 over the canonical JSON of request fields, also those an older release stored.

    Late fields at their default are left out: who did not know them asked for the same picture.
    """
    import hashlib  # late: what only shows help starts without OpenSSL

    usual = {field.name: field.default for field in FIELDS if field.late}
    told = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
    text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def refuse_unknown(name: str, known: Mapping[str, Any], *, source: str, code: str) -> None:
    """Raise PixartError(`code`) with a "did you mean" unless `name` is a key of `known`."""
    if name in known:
        return
    close = get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Known: " + ", ".join(known) + "."
    raise PixartError(code, f"{source}: unknown key {name!r}", hint)


def check_text(text: str, what: str) -> None:
    """Raise "prompt-invalid" unless `text` can be stored in a PNG and read back the same."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        where = f"{what}: not valid UTF-8 at character {error.start}"
        raise PixartError("prompt-invalid", where, "Pass the text as UTF-8.") from None
    if "\x00" in text:
        raise PixartError("prompt-invalid", f"{what}: holds a NUL character", "Remove it.")
    if size > MAX_PROMPT_BYTES:
        raise PixartError(
            "prompt-invalid", f"{what}: {size} bytes long", f"The most is {MAX_PROMPT_BYTES} bytes."
        )
