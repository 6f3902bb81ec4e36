"""What a suite of an evaluation is: questions, a judge of their answers, and pictures that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image

Wanted = TypeVar("Wanted")
Mark = tuple[str, bool]  # a row of the table, and whether the picture has what that row counts


@dataclass(frozen=True, kw_only=True)
class Question(Generic[Wanted]):
    """A prompt, and what its picture is judged by.

    `width` x `height` is the size in pixels at which it is judged; a model draws it at its own native size of
    that shape. `kind` is the kind of question; `wanted` is the suite's own.
    """

    number: int
    kind: str
    prompt: str
    width: int
    height: int
    seed: int
    wanted: Wanted

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


class Suite(Protocol[Wanted]):
    """One evaluation. `definition` names its rules: numbers of equal definitions may be compared.

    `rows` is the order of the table; rows that it does not name follow by name.
    """

    @property
    def name(self) -> str:
        """What it is asked for by."""
        ...

    @property
    def definition(self) -> str:
        """Name and version."""
        ...

    @property
    def rows(self) -> Sequence[str]:
        """The order of the table."""
        ...

    def questions(self, count: int, seed: int) -> list[Question[Wanted]]:
        """The first `count` questions of `seed`: those of a smaller count are their beginning."""
        ...

    def describe(self, question: Question[Wanted]) -> dict[str, Any]:
        """What is wanted of `question`, as JSON data."""
        ...

    def judge(self, question: Question[Wanted], picture: Image) -> list[Mark]:
        """What `picture`, of the question's size, has of what was asked for."""
        ...

    def reference(self, question: Question[Wanted], size: tuple[int, int]) -> Image | None:
        """A picture of `size` (width, height) that is right for `question`; None if the suite has none."""
        ...
