"""Shares with their intervals, and the table of them beside ceiling and floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pixart_cli.features.evaluate.suite import Mark

ALL: Final = "all"
_Z: Final = 1.96  # of a normal distribution, 95 % lie within so many standard deviations


@dataclass(frozen=True)
class Score:
    """`found` of `asked`; the interval is Wilson's at 95 %.

    Things asked of one picture are found or missed together. `design_effect` says by how much that widens the
    variance of the rate (L. Kish, Survey Sampling, 1965, §5.4); 1 where each is on its own.
    """

    found: int
    asked: int
    design_effect: float = 1.0

    @property
    def rate(self) -> float:
        """The share found, 0..1."""
        return self.found / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the rate (E. B. Wilson, JASA 22, 1927), of as many things as would
        tell so much if each were on its own.
        """
        n, p = self.asked / self.design_effect, self.rate
        middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
        half = _Z * ((p * (1 - p) / n + _Z * _Z / (4 * n * n)) ** 0.5) / (1 + _Z * _Z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        low, high = self.interval
        return {"found": self.found, "asked": self.asked, "rate": self.rate, "low": low, "high": high}


@dataclass(frozen=True)
class Row:
    """One line of the table; without pictures that are right there is neither ceiling nor floor."""

    name: str
    score: Score
    ceiling: Score | None = None
    floor: Score | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        ends = {"ceiling": self.ceiling, "floor": self.floor}
        return {
            "name": self.name,
            **self.score.to_dict(),
            **{key: None if end is None else end.to_dict() for key, end in ends.items()},
        }


def tally(pictures: Iterable[Iterable[Mark]]) -> dict[str, Score]:
    """For each row, and under "all", how often it was found and asked, from the marks of each picture."""
    counted: dict[str, list[tuple[int, int]]] = {}
    for marks in pictures:
        own: dict[str, tuple[int, int]] = {}
        for name, seen in marks:
            for key in (ALL, name):
                found, asked = own.get(key, (0, 0))
                own[key] = (found + seen, asked + 1)
        for name, pair in own.items():
            counted.setdefault(name, []).append(pair)
    return {name: _score(pairs) for name, pairs in counted.items()}


def _score(pictures: Sequence[tuple[int, int]]) -> Score:
    """The score of what was found and asked in each picture, the variance as that of a ratio of sums."""
    found, asked = (sum(column) for column in zip(*pictures, strict=True))
    rate, count = found / asked, len(pictures)
    alone = asked * rate * (1.0 - rate)
    if count < 2 or alone == 0.0:
        return Score(found, asked)
    together = count / (count - 1) * sum((f - rate * a) ** 2 for f, a in pictures)
    return Score(found, asked, max(1.0, together / alone))


def rows_of(
    scores: dict[str, Score], ceiling: dict[str, Score], floor: dict[str, Score], order: Sequence[str]
) -> list[Row]:
    """The rows of a table: "all", then those of `order`, then others by name."""
    first = [ALL, *order]
    names = sorted(scores, key=lambda name: (first.index(name) if name in first else len(first), name))
    return [Row(name, scores[name], ceiling.get(name), floor.get(name)) for name in names]


def markdown(rows: Sequence[Row], what: str) -> list[str]:
    """Lines of a Markdown table whose first column is `what`."""
    lines = [
        f"| {what} | asked | found (95 % interval) | drawn pictures | wrong pictures |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.score.interval
        ends = ["–" if end is None else f"{end.rate:.0%}" for end in (row.ceiling, row.floor)]
        found = f"{row.score.rate:.0%} ({low:.0%} to {high:.0%})"
        lines.append(f"| {row.name} | {row.score.asked} | {found} | {ends[0]} | {ends[1]} |")
    return lines
