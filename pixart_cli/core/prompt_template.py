r"""Prompts that offer alternatives: ``{red|green|blue}``, nested, and ``{_colour_}`` for a list of its own.

Combinations are counted and picked by their number, never listed: 10^40 of them cost no more than two.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Final, Protocol

from pixart_cli.core.errors import PixartError
from pixart_cli.core.escapes import ESCAPE, meaning

MAX_DEPTH: Final = 10
MAX_COMBINATIONS: Final = 10**300
_LITERAL: Final = re.compile(r"[^\\{}|]+")
_LIST: Final = re.compile(r"[ \t]*_(?P<name>\w[\w .-]*?(?:/\w[\w .-]*?)*)_[ \t]*(?=[|}])")


class Place(Protocol):
    """A text, and how to complain of one of its characters."""

    @property
    def text(self) -> str:
        """The text itself."""
        ...

    def wrong(self, index: int | None, what: str, hint: str) -> PixartError:
        """The error which says that `what` is wrong at the character `index`."""
        ...


class Template(Protocol):
    """What stands for `count` texts, numbered from 0; the last alternative changes fastest."""

    @property
    def count(self) -> int:
        """How many texts there are, equal ones counted as often as they come."""
        ...

    def pick(self, number: int, /) -> str:
        """The text of that number, 0 to `count` - 1."""
        ...


@dataclass(frozen=True, slots=True)
class Literal:
    """Always the same text."""

    text: str
    count: int = 1

    def pick(self, _number: int, /) -> str:
        """`text`."""
        return self.text


class Chain:
    """Templates one after another."""

    def __init__(self, parts: Sequence[Template]) -> None:
        self.parts = tuple(parts)
        self.count = prod(part.count for part in parts)

    def pick(self, number: int, /) -> str:
        """As :meth:`Template.pick`."""
        texts = []
        for part in reversed(self.parts):
            number, digit = divmod(number, part.count)
            texts.append(part.pick(digit))
        return "".join(reversed(texts))


class Choice:
    """One of several templates."""

    def __init__(self, options: Sequence[Template]) -> None:
        self.options = tuple(options)
        self._ends = list(accumulate(option.count for option in options))
        self.count = self._ends[-1]

    def pick(self, number: int, /) -> str:
        """As :meth:`Template.pick`."""
        index = bisect_right(self._ends, number)
        return self.options[index].pick(number - (self._ends[index - 1] if index else 0))


Lists = Callable[[str, Place, int], Template]


def parse_template(place: Place, lists: Lists) -> Template:
    """The template that the text of `place` spells out.

    Args:
        place: the text.
        lists: gives the list of a name, for the place and the index of the name.

    Raises:
        PixartError: as `place.wrong` makes it, for a brace that is alone, offers nothing or only one thing,
            for more than 10 braces within each other or 10^300 combinations; or as `lists` does.
    """
    if not any(mark in place.text for mark in "\\{}"):
        return Literal(place.text)
    template = _Parser(place, lists).row(0)
    if template.count > MAX_COMBINATIONS:
        raise place.wrong(0, "more combinations than there are atoms", "Offer less at once.")
    return template


class _Parser:
    def __init__(self, place: Place, lists: Lists) -> None:
        self.place, self.text, self.lists = place, place.text, lists
        self.at = 0

    def row(self, depth: int) -> Template:
        """From here to the end of the text, or at a depth to the next | or }."""
        parts: list[Template] = []
        while self.at < len(self.text) and not (depth and self.text[self.at] in "|}"):
            if self.text[self.at] == "{":
                parts.append(self._choice(depth + 1))
            elif self.text[self.at] == "}":
                raise self.place.wrong(self.at, "a } that closes nothing", "Write \\} for the character.")
            else:
                parts.append(Literal(self._literal()))
        return parts[0] if len(parts) == 1 else Chain(parts)

    def _literal(self) -> str:
        """Up to the next brace, or bar."""
        texts = []
        while self.at < len(self.text):
            match = _LITERAL.match(self.text, self.at) or ESCAPE.match(self.text, self.at)
            if match is None and self.text[self.at] in "{}|":
                break
            texts.append(self._one(match))
        return "".join(texts) or self._bar()

    def _one(self, match: re.Match[str] | None) -> str:
        if match is None:  # a backslash that escapes nothing
            self.at += 1
            return "\\"
        self.at = match.end()
        return meaning(match) if match.re is ESCAPE else match[0]

    def _bar(self) -> str:
        self.at += 1
        return "|"

    def _choice(self, depth: int) -> Template:
        start = self.at
        if depth > MAX_DEPTH:
            raise self.place.wrong(start, f"more than {MAX_DEPTH} braces within each other", "Use lists.")
        options: list[Template] = []
        named = False
        while not options or self.text[self.at] == "|":
            self.at += 1
            listed = self._list()
            named |= listed is not None
            options.append(listed or self.row(depth))
            if self.at == len(self.text):
                raise self.place.wrong(start, "a { that is never closed", "Write \\{ for the character.")
        self.at += 1
        if len(options) == 1 and not named:
            raise self._no_choice(start)
        return options[0] if len(options) == 1 else Choice(options)

    def _list(self) -> Template | None:
        match = _LIST.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return self.lists(match["name"], self.place, match.start("name") - 1)

    def _no_choice(self, start: int) -> PixartError:
        inside = self.text[start + 1 : self.at - 1]
        what = "braces that offer only one thing" if inside else "braces with nothing inside"
        hint = (
            "Part several things with |, name a list as {_colour_}, or write \\{ and \\} for the characters."
        )
        return self.place.wrong(start, what, hint)
