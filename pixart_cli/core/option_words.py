r"""Options as they are typed after `gen`, on the lines of a prompt list: words as a shell splits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.escapes import unescape
from pixart_cli.core.list_lines import CODE, Line
from pixart_cli.core.options import PICTURE_SETTINGS, SETTINGS, Setting
from pixart_cli.core.refine import SHORTHANDS

_PIECE: Final = re.compile(
    r"""(?P<space>[ \t]+)|'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\$'(?P<c>(?:\\.|[^'\\])*)'"""
    r"""|\\(?P<escaped>.)|(?P<plain>[^ \t'"\\$]+|\$)""",
    re.DOTALL,
)
_IN_DOUBLE: Final = re.compile(r"""\\(["\\$`])""")
_LONG: Final[Mapping[str, Setting]] = {f"--{row.key.replace('_', '-')}": row for row in SETTINGS}
_SHORT: Final[Mapping[str, Setting]] = {f"-{row.short}": row for row in SETTINGS if row.short}
_FLAGS: Final[Mapping[str, str]] = {f"--{word}": value for word, value in SHORTHANDS.items()}
OPTION_NAMES: Final = frozenset([*_LONG, *_FLAGS])
_KNOWN: Final = [*_FLAGS, *(name for name, row in _LONG.items() if not row.whole_batch)]


@dataclass(frozen=True)
class Word:
    """One word of `line`, quotes taken off; `index` is where it begins, from 0."""

    line: Line
    index: int
    text: str

    @property
    def place(self) -> str:
        """As :meth:`Line.place`."""
        return self.line.place(self.index)

    def wrong(self, what: str, hint: str) -> PixartError:
        """As :meth:`Line.wrong`."""
        return self.line.wrong(self.index, what, hint)


def split_words(line: Line) -> list[Word]:
    r"""The words of `line` as a POSIX shell would split it, with bash's ``$'\n'``; ``#`` begins a comment.

    Nothing is expanded: no variables, no file names.

    Raises:
        PixartError: "prompt-list-invalid" for a quote that is never closed.
    """
    words: list[tuple[int, list[str]]] = []
    inside, at = False, 0
    while at < len(line.text):
        match = _PIECE.match(line.text, at)
        if match is None:
            end = line.text[at] == "\\"
            what = "a backslash at the end" if end else "a quote that is never closed"
            raise line.wrong(at, what, "Begin and end a value on one line.")
        space = match.lastgroup == "space"
        if not space and not inside and match[0].startswith("#"):
            break
        if not space and not inside:
            words.append((at, []))
        if not space:
            words[-1][1].append(_text_of(match))
        inside = not space
        at = match.end()
    return [Word(line, index, "".join(pieces)) for index, pieces in words]


def _text_of(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    if kind == "double":
        return _IN_DOUBLE.sub(r"\1", match[kind])
    return unescape(match[kind]) if kind == "c" else match[kind]


def read_options(words: Iterable[Word], found: Mapping[str, Any]) -> dict[str, Any]:
    """`found` and the settings that `words` add, by key and checked.

    Raises:
        PixartError: "prompt-list-invalid" naming line and column: an unknown option, one of the whole batch,
            a missing or wrong value, one that is there twice.
    """
    options = dict(found)
    rest = iter(words)
    for word in rest:
        name, joined = _split_name(word)
        if name in _FLAGS and joined is None:
            setting, value = PICTURE_SETTINGS["refine"], Word(word.line, word.index, _FLAGS[name])
        else:
            setting = _setting_of(name, word)
            value = joined or _next(rest, word)
        _add(options, setting, value)
    return options


def _split_name(word: Word) -> tuple[str, Word | None]:
    """The option that `word` names, and the value joined to it: ``--seed=3``, ``-s3``."""
    text = word.text
    if text.startswith("--"):
        name, equals, value = text.partition("=")
    else:
        name, value = text[:2], text[2:]
        equals = value
    at = word.index + len(text) - len(value)
    return name, Word(word.line, at, value) if equals else None


def _setting_of(name: str, word: Word) -> Setting:
    setting = _LONG.get(name) or _SHORT.get(name)
    if setting is None:
        raise _unknown(name, word)
    if setting.whole_batch:
        what = f"{name} cannot be said of one picture: {setting.whole_batch}"
        raise word.wrong(what, "Say it on the command line, for the whole batch.")
    return setting


def _unknown(name: str, word: Word) -> PixartError:
    if not name.startswith("-"):
        hint = "Begin options with -, put values of several words in quotes, and indent no prompt."
        return word.wrong(f"{word.text[:40]!r} is no option", hint)
    close = get_close_matches(name, _KNOWN, n=1)
    hint = f"Did you mean {close[0]}?" if close else "Known: " + ", ".join(_KNOWN) + "."
    return word.wrong(f"no option is named {name[:40]!r}", hint)


def _next(rest: Iterable[Word], word: Word) -> Word:
    for value in rest:
        return value
    raise word.wrong(f"{word.text} needs a value", "Write it after the option, on the same line.")


def _add(options: dict[str, Any], setting: Setting, value: Word) -> None:
    key = setting.key
    if key in options and setting.kind is not tuple:
        raise value.wrong(f"{key} is set twice for one prompt", "Remove one of them.")
    if setting.kind is tuple:  # given again for each, as on the command line
        options[key] = (*options.get(key, ()), *setting.check([value.text], source=value.place, code=CODE))
        return
    checked = setting.read(value.text, source=value.place, code=CODE)
    options[key] = check_option(setting, checked, value.place)


def check_option(setting: Setting, value: Any, place: str) -> Any:
    """`value`, unless no picture of a batch can have it.

    Raises:
        PixartError: "prompt-list-invalid" naming `place`.
    """
    if setting.key == "output" and value == "-":
        what = f"{place}: a picture of a batch cannot go to standard output"
        raise PixartError(CODE, what, "Name a file, a folder or a template.")
    return value
