"""The record inside a picture: what was asked, how it was drawn, and how to draw it again.

At level "full" a picture carries `pixart` (this module's versioned JSON, exact), `parameters` (A1111's text),
Title, Description, Software and XMP; at "minimal" only that `pixart` drew it, by AI, and the fingerprint; at
"none" no text. Nothing in it depends on the clock or the machine's owner: one request gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from pixart_cli import __version__
from pixart_cli.core import infotext, xmp
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent
from pixart_cli.core.png import read_head, read_text
from pixart_cli.core.privacy import public_request, scrub
from pixart_cli.core.request import GenerationRequest, fingerprint_of

if TYPE_CHECKING:
    from pathlib import Path

    from pixart_cli.core.rendering import Rendering
    from pixart_cli.core.resolution import Size

KEY: Final = "pixart"
SCHEMA: Final = "pixart.image/1"
SOFTWARE: Final = f"pixart {__version__}"
MAX_DPI: Final = 100_000
_STUB: Final = frozenset({"schema", "fingerprint"})

Level = Literal["full", "minimal", "none"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a picture says of itself.

    `output` holds "dpi" (float or None), "name" (of the size, or None) and "preset" (or None).
    `parent` is the picture it was made from, if it was made from one.
    `fingerprint` is that of the stored request; a model folder is stored by its last name only, and
    a request field that a later release adds is in `request` but not in an older picture's fingerprint.
    """

    request: GenerationRequest
    provenance: dict[str, Any]
    output: dict[str, Any]
    fingerprint: str
    parent: Parent | None = None


def record_of(
    rendering: Rendering, *, size: Size, preset: str | None, parent: Parent | None = None
) -> Record:
    """The record that goes with `rendering`, without paths, host or user names."""
    request = public_request(rendering.request)
    return Record(
        request=request,
        provenance=scrub(rendering.provenance),
        output={"dpi": size.dpi, "name": size.name, "preset": preset},
        fingerprint=request.fingerprint,
        parent=parent,
    )


def texts_for(
    rendering: Rendering,
    *,
    size: Size,
    preset: str | None,
    parent: Parent | None = None,
    level: Level = "full",
) -> list[tuple[str, str]]:
    """Keyword and text of every text chunk, in the order of the file."""
    if level == "none":
        return []
    record = record_of(rendering, size=size, preset=preset, parent=parent)
    if level == "minimal":
        stub = {"schema": SCHEMA, "fingerprint": record.fingerprint}
        packet = xmp.packet(creator_tool=SOFTWARE, source=_source(parent))
        return [(KEY, _json(stub)), ("Software", SOFTWARE), (xmp.KEY, packet)]
    return [
        (KEY, dump(record)),
        ("parameters", infotext.write(record)),
        ("Title", _title(record.request.prompt)),
        ("Description", record.request.prompt),
        ("Software", SOFTWARE),
        (xmp.KEY, _packet(record)),
    ]


def dump(record: Record) -> str:
    """`record` as the JSON of the `pixart` chunk; the inverse of :func:`load`."""
    return _json(
        {
            "schema": SCHEMA,
            "fingerprint": record.fingerprint,
            "request": record.request.to_dict(),
            "provenance": record.provenance,
            "output": record.output,
            **({} if record.parent is None else {"parent": record.parent.to_dict()}),
        }
    )


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True)


def _title(prompt: str, length: int = 60) -> str:
    text = " ".join(prompt.split())
    if len(text) <= length:
        return text
    cut = text[:length]
    words = cut.rsplit(" ", 1)[0] if " " in cut[length // 2 :] else cut
    return words + "…"


def _source(parent: Parent | None) -> str:
    """What made a picture: a network alone, or a picture as well that no record says is a network's."""
    return xmp.TRAINED if parent is None or parent.fingerprint else xmp.COMPOSITE


def _packet(record: Record) -> str:
    request = record.request
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return xmp.packet(
        creator_tool=SOFTWARE,
        source=_source(record.parent),
        description=request.prompt,
        prompt=request.prompt + negative,
        system=f"pixart {request.model}",
        system_version=__version__,
    )


def read_record(path: Path) -> Record:
    """The record of the picture at `path`.

    Raises:
        PixartError: "metadata-missing" when it has none, "metadata-invalid" when it is damaged, edited or
            of a newer version, "image-invalid" or "disk" as :func:`pixart_cli.core.png.read_text` says.
    """
    text = read_text(path).texts.get(KEY)
    if text is None:
        hint = "Only pictures drawn by pixart with --metadata full say it."
        raise PixartError("metadata-missing", f"{path}: does not say how it was made", hint)
    return load(text, source=str(path))


def load(text: str, *, source: str) -> Record:
    """The record that the JSON `text` of a `pixart` chunk spells out; `source` is for messages.

    Raises:
        PixartError: "metadata-missing" for a minimal record, "metadata-invalid" for all that is wrong.
    """
    data = _object(text, source)
    _check_schema(data.get("schema"), source)
    fingerprint = _fingerprint(data, source)
    if data.keys() <= _STUB:
        hint = "It was drawn with --metadata minimal; draw it with --metadata full to keep the prompt."
        raise PixartError("metadata-missing", f"{source}: keeps only its fingerprint", hint)
    request, provenance, output = (_mapping(data, key, source) for key in ("request", "provenance", "output"))
    try:
        parsed = GenerationRequest.from_dict(request, source="request")
    except PixartError as error:
        raise _invalid(source, error.message, error.hint) from None
    if fingerprint_of(request) != fingerprint:
        raise _invalid(source, "the record was edited: request and fingerprint disagree")
    return Record(
        request=parsed,
        provenance=provenance,
        output=_output(output, source),
        fingerprint=fingerprint,
        parent=_parent(data.get("parent"), parsed, source),
    )


@dataclass(frozen=True)
class Mark:
    """What tells a picture from others: the fingerprint of its request and, if it says so, its weights."""

    fingerprint: str
    weights: str | None = None


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint that the picture at `path` holds, if only that is kept too; else None."""
    mark = mark_in(path)
    return mark.fingerprint if mark else None


def mark_in(path: Path) -> Mark | None:
    """The mark of the whole picture at `path`, if it holds one."""
    try:
        return _mark_of(read_text(path).texts, str(path))
    except PixartError:
        return None


def mark_in_stream(file: BinaryIO, name: str) -> Mark | None:
    """As :func:`mark_in`, of a picture that is known to be whole; its pixels are not read."""
    try:
        return _mark_of(read_head(file, name).texts, name)
    except PixartError:
        return None


def _mark_of(texts: Mapping[str, str], source: str) -> Mark:
    text = texts.get(KEY, "")
    data = _object(text, source)
    if data.keys() <= _STUB:
        _check_schema(data.get("schema"), source)
        return Mark(_fingerprint(data, source))
    record = load(text, source=source)
    weights = record.provenance.get("weights")
    return Mark(record.fingerprint, weights if isinstance(weights, str) else None)


def _fingerprint(data: Mapping[str, Any], source: str) -> str:
    fingerprint = data.get("fingerprint")
    if not isinstance(fingerprint, str) or not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        raise _invalid(source, "the record has no fingerprint")
    return fingerprint


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
        # Lone surrogates, NaN and infinity parse, but cannot be stored again.
        _json({"": data}).encode("utf-8")
    except (ValueError, RecursionError):
        raise _invalid(source, "the record is not valid JSON") from None
    if not isinstance(data, dict):
        raise _invalid(source, "the record is not an object")
    return data


def _check_schema(schema: Any, source: str) -> None:
    match = re.fullmatch(r"pixart\.image/([0-9]{1,6})", schema) if isinstance(schema, str) else None
    if match is None:
        raise _invalid(source, "the record does not name its schema")
    if f"pixart.image/{int(match[1])}" != SCHEMA:
        what = f"the record is of version {match[1]}, which this pixart cannot read"
        raise _invalid(source, what, "Update pixart.")


def _mapping(data: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise _invalid(source, f"the record has no {key}")
    return value


def _output(output: Mapping[str, Any], source: str) -> dict[str, Any]:
    values = {key: output.get(key) for key in ("dpi", "name", "preset")}
    dpi = values["dpi"]
    number = isinstance(dpi, (int, float)) and not isinstance(dpi, bool) and 1 <= dpi <= MAX_DPI
    texts = all(values[key] is None or isinstance(values[key], str) for key in ("name", "preset"))
    if not texts or not (dpi is None or number):
        raise _invalid(source, "the record has a wrong output")
    return values


def _parent(values: Any, request: GenerationRequest, source: str) -> Parent | None:
    """The picture that `request` started from, as recorded; one without an init image has none."""
    try:
        parent = None if values is None else Parent.from_dict(values)
    except ValueError:
        raise _invalid(source, "the record has a wrong parent") from None
    if parent is not None and parent.sha256 != request.init_image:
        raise _invalid(source, "the record was edited: request and parent disagree")
    return parent


def _invalid(source: str, what: str, hint: str = "Take the original file.") -> PixartError:
    return PixartError("metadata-invalid", f"{source}: {what}", hint)
