"""Names of pictures: a fixed set of fields, never ``str.format``, and never out of the folder asked for."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import expand_home
from pixart_cli.core.privacy import public_request
from pixart_cli.core.settings import Job

FIELDS: Final = ("slug", "seed", "width", "height", "model", "preset", "index", "fingerprint")
DEFAULT: Final = "{slug}-{seed}.png"
STDOUT: Final = "-"
MAX_SLUG: Final = 80
MAX_COMPONENT_BYTES: Final = 255
_MAX_FOLDERS: Final = 10_000  # remembered at once

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"(?P<name>[a-z]+)(?::(?P<length>[0-9]{1,3}))?")
_SHORTENED: Final = ("slug", "fingerprint")
_RESERVED: Final = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9]")  # on Windows
_OTHER_FORMATS: Final = tuple(".jpg .jpeg .webp .avif .gif .tif .tiff .bmp .jxl .pdf .svg".split())
_SPELLED: Final = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})


def slug(prompt: str) -> str:
    """`prompt` as a file name: at most 80 of a-z, 0-9 and single dashes, cut between words.

    A prompt without Latin letters or digits gives ``picture-`` and eight hex digits of its own.
    """
    plain = unicodedata.normalize("NFKD", prompt.lower().translate(_SPELLED)).encode("ascii", "ignore")
    text = re.sub(r"[^a-z0-9]+", "-", plain.decode("ascii").lower()).strip("-")
    if not text:
        from hashlib import sha256  # late: what only shows help starts without OpenSSL

        return "picture-" + sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if _RESERVED.fullmatch(text):
        return f"{text}-picture"
    return _cut(text, MAX_SLUG)


def _cut(text: str, length: int) -> str:
    """At most `length` characters, whole words if one at least fits."""
    if len(text) <= length:
        return text
    words = text[: length + 1].rpartition("-")[0]
    return (words or text[:length]).strip("-")


def expand(template: str, fields: Mapping[str, Any]) -> str:
    """`template` with ``{name}`` replaced for every name of :data:`FIELDS`; ``{slug:N}`` and
    ``{fingerprint:N}`` are at most N characters long. Values cannot add a folder.

    Raises:
        PixartError: "output-invalid" for any other field, format or stray brace.
    """
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise PixartError("output-invalid", f"{template!r} has a stray brace", _known_fields())
    return _FIELD.sub(lambda match: _value(match[1], template, fields), template)


def _value(text: str, template: str, fields: Mapping[str, Any]) -> str:
    match = _NAME.fullmatch(text)
    if match is None or match["name"] not in FIELDS:
        raise PixartError("output-invalid", f"{template!r}: no field {{{text[:40]}}}", _known_fields())
    value = _safe(str(fields[match["name"]]))
    if match["length"] is None:
        return value
    if match["name"] not in _SHORTENED or int(match["length"]) == 0:
        raise PixartError(
            "output-invalid",
            f"{template!r}: {{{text}}} cannot be shortened",
            "Only {slug:N} and {fingerprint:N} take a length.",
        )
    return _cut(value, int(match["length"]))


def _safe(value: str) -> str:
    """`value` as a part of one path component: no separator, no leading dot, nothing a shell minds."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", value).strip(".-") or "none"


def _known_fields() -> str:
    return "Fields are " + " ".join(f"{{{name}}}" for name in FIELDS) + ", {slug:40} and {fingerprint:8}."


def output_paths(output: str | None, jobs: Sequence[Job], *, cwd: Path) -> list[Path]:
    """Where each job's picture goes, as absolute paths, all different; ``Path("-")`` for standard output.

    `output` is None (the default name in `cwd`), a folder (ends in ``/`` or exists), a template, or a file.
    Names that coincide are numbered ``-2``, ``-3``, ….

    Raises:
        PixartError: "output-invalid" for several pictures and one name, an unknown field, a format other than
            PNG, a component too long, or a folder that leads out of the one the template starts in.
    """
    naming = Naming(output, cwd=cwd, digits=len(str(len(jobs))))
    if naming.to_stdout or not naming.has_fields:
        _refuse_several(output or DEFAULT, jobs)
    if naming.to_stdout:
        return [Path(STDOUT)]
    return distinct([naming.path(job) for job in jobs])


class Naming:
    """One `output` setting, read once, for the names of any number of pictures.

    `folder` is the one that all names are in or below: the one the template starts in.

    Args:
        output: as in :func:`output_paths`.
        cwd: where relative names start.
        digits: how many an index has at least.

    Raises:
        PixartError: "output-invalid".
    """

    def __init__(self, output: str | None, *, cwd: Path, digits: int) -> None:
        text = output or DEFAULT
        _check_text(text)
        self.to_stdout = text == STDOUT
        self._cwd, self._template = (cwd, text) if self.to_stdout else _start(text, cwd)
        self._digits = digits
        self.folder = self._cwd / os.path.dirname(self._template.partition("{")[0])
        self._real = ""
        self._inside: set[Path] = set()  # to follow links takes long: each folder once

    @property
    def has_fields(self) -> bool:
        """Whether two pictures can have two names."""
        return "{" in self._template or "}" in self._template

    def path(self, job: Job) -> Path:
        """Where the picture of `job` goes, as an absolute path if `cwd` is one.

        Raises:
            PixartError: "output-invalid" for an unknown field, a component too long, or a folder that leads
                out of the one the template starts in.
        """
        path = _place(self._template, _fields(job, self._digits, self._template), self._cwd)
        if path.parent not in self._inside:
            self._check_inside(path.parent)
        return path

    def _check_inside(self, folder: Path) -> None:
        """A folder named by fields may be a planted symbolic link, or be followed by ``..``."""
        self._real = self._real or os.path.realpath(self.folder)
        if not Path(os.path.realpath(folder)).is_relative_to(self._real):
            what = f"{folder} leads out of {self.folder}"
            raise PixartError("output-invalid", what, "Remove the link or the '..'.")
        if len(self._inside) >= _MAX_FOLDERS:
            self._inside.clear()
        self._inside.add(folder)


def _check_text(text: str) -> None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise PixartError("output-invalid", f"{text!r} holds a control character", "Remove it from the name.")
    suffix = os.path.splitext(text)[1].lower()
    if suffix in _OTHER_FORMATS:
        hint = f"Name it '{text[: -len(suffix)]}.png'."
        raise PixartError("output-invalid", f"{text!r}: pictures are written as PNG", hint)


def _start(text: str, cwd: Path) -> tuple[Path, str]:
    """(folder, template below it). ``~/`` is read here, for no shell has in a file or in quotes."""
    if text.startswith("~/"):
        cwd, text = expand_home("~"), text[2:]
    if os.path.isdir(cwd / text):
        return cwd / text, DEFAULT
    return cwd, text + DEFAULT if text.endswith(("/", os.sep)) else text


def _refuse_several(text: str, jobs: Sequence[Job]) -> None:
    if len(jobs) > 1:
        hint = "Name a folder, as 'out/', or a template, as '{slug}-{seed}.png'."
        what = "standard output" if text == STDOUT else repr(text)
        raise PixartError("output-invalid", f"{len(jobs)} pictures do not fit into {what}", hint)


def _fields(job: Job, digits: int, template: str) -> dict[str, str]:
    """The fields of `job`; the fingerprint, which takes long, only where `template` asks for it."""
    request = job.request
    return {
        "slug": slug(job.prompt or request.prompt),
        "seed": str(request.seed),
        "width": str(request.width),
        "height": str(request.height),
        "model": re.split(r"[/\\]", request.model.rstrip("/\\"))[-1],
        "preset": job.preset or "none",
        "index": f"{job.index + 1:0{digits}}",
        "fingerprint": public_request(request).fingerprint if "fingerprint" in template else "",
    }


def _place(template: str, fields: Mapping[str, str], cwd: Path) -> Path:
    name = expand(template, fields)
    for component in Path(name).parts:
        if _stored_bytes(component) > MAX_COMPONENT_BYTES:
            what = f"{component[:40]!r}... is longer than {MAX_COMPONENT_BYTES} bytes"
            raise PixartError("output-invalid", what, "Shorten it, as '{slug:40}-{seed}.png'.")
    return cwd / name


def _stored_bytes(component: str) -> int:
    """How long `component` is on the disk."""
    try:
        return len(os.fsencode(component))
    except UnicodeEncodeError:
        what = f"{component!r} cannot be spelled in this system's encoding"
        raise PixartError("output-invalid", what, "Use other letters, or a UTF-8 locale.") from None


def distinct(paths: Sequence[Path]) -> list[Path]:
    """The same paths, later ones numbered where they coincide; upper and lower case count as alike."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the last one given, so that ten thousand of one name take no longer each
    result = []
    for path in paths:
        candidate, name = path, str(path).casefold()
        while str(candidate).casefold() in taken:
            numbers[name] = numbers.get(name, 1) + 1
            candidate = path.with_name(f"{path.stem}-{numbers[name]}{path.suffix}")
        taken.add(str(candidate).casefold())
        result.append(candidate)
    return result
