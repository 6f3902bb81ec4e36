"""AUTOMATIC1111's `parameters` text: what other programs read from our pictures, and we from theirs.

The grammar loses newlines and a prompt's own "Negative prompt:", so it is a courtesy to others;
the exact record is the JSON of `core/metadata.py`. Source: `create_infotext` and
`parse_generation_parameters` of stable-diffusion-webui (modules/processing.py, infotext_utils.py).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from pixart_cli import __version__
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_NAME, FIELDS, Field
from pixart_cli.core.request import GenerationRequest

if TYPE_CHECKING:
    from pixart_cli.core.metadata import Record

SAMPLERS: Final = {
    "dpm++": "DPM++ 2M",
    "dpm++-sde": "DPM++ 2M SDE",
    "euler": "Euler",
    "euler-a": "Euler a",
    "ddim": "DDIM",
    "unipc": "UniPC",
    "lcm": "LCM",
    "wuerstchen": "DDPM Wuerstchen",
}
"""Our scheduler names ↔ the sampler names that A1111's users know."""

_SCHEDULERS: Final = {sampler: scheduler for scheduler, sampler in SAMPLERS.items()}
_NEGATIVE: Final = "Negative prompt:"
# Readers look for "Steps" first and take what follows "Version" as the end.
_ORDER: Final = ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model")
# Hashes as other programs show them: their first twelve digits.
_HASHES: Final = ("lora", "init_image")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SHORT: Final = 12
_ITEM: Final = re.compile(r'(\w[\w /-]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_BY_INFOTEXT: Final = {
    f.infotext: f for f in FIELDS if f.infotext not in ("prompt", "Negative prompt", "Size")
}


def write(record: Record) -> str:
    """The text of `record`: prompt, negative prompt, and one line of settings.

    Whitespace in prompts is collapsed, the colon of a "Negative prompt:" inside them becomes U+FF1A, and
    no setting holds ``,``, ``:`` or ``"``: what A1111's grammar and stricter readers alike take apart again.
    """
    request = record.request
    lines = [_one_line(request.prompt)]
    if negative := _one_line(request.negative_prompt):
        lines.append(f"{_NEGATIVE} {negative}")
    settings = _settings(request) | {"RNG": "CPU", "Version": f"pixart {__version__}"}
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return re.sub(r"(negative prompt):", "\\1\uff1a", " ".join(text.split()), flags=re.IGNORECASE)


def _settings(request: GenerationRequest) -> dict[str, str]:
    shown = {f.infotext: _shown(f, request) for f in FIELDS if f.name not in ("prompt", "negative_prompt")}
    usual = {f.infotext for f in FIELDS if f.default is not None and getattr(request, f.name) == f.default}
    order = [*_ORDER, *(key for key in shown if key not in _ORDER and key not in usual)]
    return {key: shown[key] for key in order}


def _shown(field: Field, request: GenerationRequest) -> str:
    if field.infotext == "Size":
        return f"{request.width}x{request.height}"
    value = getattr(request, field.name)
    if field.name == "scheduler":
        return SAMPLERS[value]
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if field.name in _HASHES:
        value = _HASH.sub(lambda match: match[0][:_SHORT], value)
    return " ".join(re.sub(r'[,:"]', " ", str(value)).split())


def parse(text: str) -> dict[str, Any]:
    """What `text`, ours or another program's, says: request fields by name, other settings by their own key.

    A value that does not fit its field stays a string under its own key. Linear in the length of `text`.
    """
    *lines, last = text.strip().split("\n")
    settings = _ITEM.findall(last)
    if len(settings) < 3:
        lines, settings = [*lines, last], []
    found: dict[str, Any] = _prompts(lines)
    for key, value in settings:
        found.update(_setting(key, _unquoted(value)))
    return found


def _prompts(lines: list[str]) -> dict[str, str]:
    parts: dict[str, list[str]] = {"prompt": [], "negative_prompt": []}
    name = "prompt"
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            name = "negative_prompt"
        parts[name].append(line.removeprefix(_NEGATIVE).strip() if name == "negative_prompt" else line)
    return {name: "\n".join(part) for name, part in parts.items()}


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            pass
    return value.strip()


def _setting(key: str, value: str) -> dict[str, Any]:
    if key == "Size" and (match := re.fullmatch(r"(\d{1,9})x(\d{1,9})", value)):
        return {"width": int(match[1]), "height": int(match[2])}
    if key in BY_NAME:  # another program's word that would pass for one of our fields
        return {}
    field = _BY_INFOTEXT.get(key)
    if field is None:
        return {key: value}
    value = _SCHEDULERS.get(value, value) if field.name == "scheduler" else value
    try:
        return {field.name: field.check(field.kind(value))}
    except (ValueError, PixartError):
        return {key: value}
