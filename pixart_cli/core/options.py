"""The one table of what can be set for a picture: as a typed option, in TOML, in the environment.

Rows that decide pixels take their kind, range and help from :data:`pixart_cli.core.fields.FIELDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_KEY, Field, shown
from pixart_cli.core.lora import wishes_of
from pixart_cli.core.paths import expand_home
from pixart_cli.core.refine import AUTO, check_refine
from pixart_cli.core.request import check_text, refuse_unknown
from pixart_cli.core.resolution import parse_size

MAX_COUNT: Final = 10_000
MAX_PATH_CHARACTERS: Final = 4096
MEGABYTE: Final = 1_000_000

_DEVICE: Final = re.compile(r"auto|cpu|mps|cuda(?::[0-9]{1,3})?")
_NUMBER: Final = re.compile(r"[-+]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][-+]?[0-9]{1,3})?")
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row. `key` is the TOML key, and ``PIXART_<KEY>``, and the long option with dashes for underscores.

    `default` is the built-in value; None where the model, the size or chance decides. `short` is the option's
    letter. `whole_batch` says why one picture of a batch cannot have a value of its own; empty where it can.
    """

    key: str
    kind: type[str | int | float | bool | tuple[str, ...]]
    help: str
    short: str = ""
    default: str | int | float | bool | tuple[str, ...] | None = None
    choices: tuple[str, ...] | tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    decides_pixels: bool = False
    whole_batch: str = ""

    def check(self, value: Any, *, source: str, code: str | None = None) -> Any:
        """`value` as this setting's kind.

        Raises:
            PixartError: `code`, or else the code that fits the setting, naming `source`, the key and what is
                allowed.
        """
        try:
            checked = self._check_kind(value, source)
            return _SPECIAL[self.key](checked, source) if self.key in _SPECIAL else checked
        except PixartError as error:
            if code is None:
                raise
            message = error.message if error.message.startswith(source) else f"{source}: {error.message}"
            raise PixartError(code, message, error.hint) from None

    def _check_kind(self, value: Any, source: str) -> Any:
        if self.kind is tuple:
            return wishes_of(value, source)
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            raise PixartError(
                "usage", f"{source}: {self.key} cannot be {shown(value)}", "Expected true or false."
            )
        if self.key in ("kv_compression", "refine") and type(value) in (int, float):
            # A ratio, a number of passes or a strength may be written as a number.
            value = repr(value) if type(value) is float else shown(value)
        field = Field(
            name="",  # what a request says of a file is not what is typed of it
            key=self.key,
            kind=cast("type[str]", self.kind),
            infotext="",
            help=self.help,
            minimum=self.minimum,
            maximum=self.maximum,
            choices=self.choices,
        )
        return field.check(value, source=source)

    def read(self, text: str, *, source: str, code: str | None = None) -> Any:
        """The value that `text`, from the environment or a prompt list, spells out.

        Raises:
            PixartError: as :meth:`check`.
        """
        return self.check(_parse(text, self.kind), source=source, code=code)


def _parse(text: str, kind: type) -> Any:
    """`text` as `kind`, or unchanged where it is none, for :meth:`Setting.check` to refuse."""
    bare = text.strip()
    if kind is bool and bare.lower() in (*_TRUE, *_FALSE):
        return bare.lower() in _TRUE
    if kind is int and re.fullmatch(r"[-+]?[0-9]{1,20}", bare):
        return int(bare)
    if kind is float and _NUMBER.fullmatch(bare):
        return float(bare)
    return text


def _check_res(value: str, _source: str) -> str:
    parse_size(value)
    return value


def _check_device(value: str, source: str) -> str:
    if _DEVICE.fullmatch(value):
        return value
    hint = "Expected auto, cpu, mps, cuda or cuda:N."
    raise PixartError("usage", f"{source}: device cannot be {value!r}", hint)


def _check_negative(value: str, source: str) -> str:
    check_text(value, f"{source}: negative")
    return value


def _check_path(value: str, source: str) -> str:
    if value and len(value) <= MAX_PATH_CHARACTERS and "\x00" not in value:
        return value
    what = f"{source}: output is empty, too long or holds a NUL"
    raise PixartError("output-invalid", what, "Name a file or folder.")


def _check_lora(value: tuple[str, ...], _source: str) -> tuple[str, ...]:
    return tuple(_at_home(wish) for wish in value)


def _check_init_image(value: str, source: str) -> str:
    if not value or "\x00" in value:
        raise PixartError("usage", f"{source}: init_image names no file", "Name a picture.")
    return _at_home(value)


def _check_refine(value: str, source: str) -> str:
    check_refine(value, source)
    return value


def _check_model(value: str, _source: str) -> str:
    return _at_home(value)


def _at_home(value: str) -> str:
    """What is below ``~/`` is at home: no shell reads that in a file, a variable or ``--model=~/x``."""
    return str(expand_home(value)) if value == "~" or value.startswith("~/") else value


def _check_prompt(value: str, source: str) -> str:
    check_text(value, f"{source}: prompt")
    if value.count("{prompt}") != 1:
        raise PixartError(
            "preset-invalid",
            f"{source}: prompt must hold {{prompt}} exactly once",
            "Write the style around it, as 'a woodcut of {prompt}'.",
        )
    return value


_SPECIAL: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "res": _check_res,
    "model": _check_model,
    "device": _check_device,
    "negative": _check_negative,
    "output": _check_path,
    "prompt": _check_prompt,
    "refine": _check_refine,
    "lora": _check_lora,
    "init_image": _check_init_image,
}


def _pixels(key: str, short: str = "") -> Setting:
    field = BY_KEY[key]
    return Setting(
        key=key,
        kind=field.kind,
        help=field.help,
        short=short,
        default=field.default,
        choices=field.choices,
        minimum=field.minimum,
        maximum=field.maximum,
        decides_pixels=True,
    )


_ONCE: Final = "the networks are loaded once, for the whole batch"
_ASKED: Final = "the weights of the whole batch are looked for before it begins"
_TOLD: Final = "it is about what the whole batch tells"

SETTINGS: Final = (
    Setting(key="preset", kind=str, short="p", help="a preset to start from, or none"),
    Setting(key="res", kind=str, short="r", help="size: a name, WIDTHxHEIGHT, or paper as a3@150",
            decides_pixels=True),
    _pixels("model", short="m"),
    _pixels("seed", short="s"),
    Setting(key="count", kind=int, short="n", default=1, minimum=1, maximum=MAX_COUNT,
            help="pictures a prompt: seed, seed+1, ..."),
    _pixels("negative"),
    _pixels("steps"),
    _pixels("guidance"),
    replace(_pixels("guidance_until"), default=None),
    _pixels("scheduler"),
    _pixels("kv_compression"),
    replace(_pixels("refine"), default=AUTO),
    Setting(key="lora", kind=tuple, help=BY_KEY["lora"].help, default=(), decides_pixels=True),
    replace(_pixels("init_image"), default=None, decides_pixels=False),
    replace(_pixels("strength"), default=None),
    _pixels("encoder_bits"),
    Setting(key="output", kind=str, short="o", help="a file, a folder, a template, or - for standard output"),
    Setting(key="force", kind=bool, short="f", default=False, help="overwrite what exists",
            whole_batch="what is drawn already would be drawn again by every run"),
    Setting(key="metadata", kind=str, default="full", choices=("full", "minimal", "none"),
            help="what the picture says of itself"),
    Setting(key="device", kind=str, default="auto",
            help="auto, cpu, mps or cuda[:N]", whole_batch=_ONCE),
    Setting(key="memory", kind=str, default="auto", choices=("auto", "full", "offload", "low"),
            help="how much memory to use",
            whole_batch=_ONCE),
    Setting(key="torch_compile", kind=bool, default=False,
            help="compile the transformer first: pays for many or large pictures on a GPU",
            whole_batch=_ONCE),
    Setting(key="prompt_cache", kind=int, default=512, minimum=0, maximum=1_000_000,
            help="MB of prompts' embeddings kept on disk, 0 for none",
            whole_batch=_ONCE),
    Setting(key="offline", kind=bool, default=False, help="never touch the network",
            whole_batch=_ASKED),
    Setting(key="yes", kind=bool, short="y", default=False, help="agree to a download",
            whole_batch=_ASKED),
    Setting(key="json", kind=bool, default=False, help="one JSON document on standard output",
            whole_batch=_TOLD),
    Setting(key="print0", kind=bool, short="0", default=False, help="end each path with NUL",
            whole_batch=_TOLD),
    Setting(key="quiet", kind=bool, short="q", default=False, help="only errors on standard error",
            whole_batch=_TOLD),
    Setting(key="progress", kind=str, default="auto", choices=("auto", "bar", "plain", "none"),
            help="how progress shows",
            whole_batch=_TOLD),
    Setting(key="dry_run", kind=bool, default=False, help="say what would be done, and do nothing",
            whole_batch="a batch is drawn, or not"),
)  # fmt: skip

BY_SETTING: Final[Mapping[str, Setting]] = {setting.key: setting for setting in SETTINGS}
# What a picture of a batch may have of its own: a prompt list sets these.
PICTURE_SETTINGS: Final[Mapping[str, Setting]] = {row.key: row for row in SETTINGS if not row.whole_batch}

# A preset describes a picture, not a run: pixels, size, place, and a sentence around the prompt.
PROMPT: Final = Setting(key="prompt", kind=str, help="a sentence around {prompt}", decides_pixels=True)
PRESET_SETTINGS: Final[Mapping[str, Setting]] = {
    row.key: row for row in (*SETTINGS, PROMPT) if row.decides_pixels or row.key == "output"
}


def read_mapping(values: Mapping[str, Any], *, source: str, code: str | None = None) -> dict[str, Any]:
    """`values` by setting key, each checked; None means "not typed" and is left out.

    Raises:
        PixartError: `code`, or else the code that fits, for an unknown key or a wrong value.
    """
    for key in values:
        refuse_unknown(key, BY_SETTING, source=source, code=code or "usage")
    typed = {key: value for key, value in values.items() if value is not None}
    return {key: BY_SETTING[key].check(value, source=source, code=code) for key, value in typed.items()}
