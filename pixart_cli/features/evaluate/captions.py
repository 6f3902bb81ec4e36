"""The suite `captions`: held-out scenes in the words of training, each attribute that was said a mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pixart_cli.diffusion.posters.caption import write_caption
from pixart_cli.diffusion.posters.scene import Scene, sample_scene
from pixart_cli.features.evaluate.suite import Mark, Question

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES: Final = ((256, 256), (336, 192), (208, 304))  # (width, height): mini's own, so nothing is resampled


@dataclass(frozen=True)
class Poster:
    """A scene, and the attributes of it that are asked for, as `detector.detect` names them."""

    scene: Scene
    asked: frozenset[str]


class Posters:
    """What all suites about the built-in model's world share: how right pictures come about."""

    def describe(self, question: Question[Poster]) -> dict[str, Any]:
        """The attributes asked for."""
        return {"asked": sorted(question.wanted.asked)}

    def reference(self, question: Question[Poster], size: tuple[int, int]) -> Image:
        """The picture that the training data would have had."""
        from pixart_cli.diffusion.posters.draw import draw

        return draw(question.wanted.scene, *size, seed=question.seed)


class Captions(Posters):
    """Prompts as training has them, of scenes with a combination that training never showed."""

    name: ClassVar[str] = "captions"
    definition: ClassVar[str] = "captions-5"
    rows: ClassVar[Sequence[str]] = ()

    def questions(self, count: int, seed: int) -> list[Question[Poster]]:
        """The first `count` questions of `seed`."""
        rng = Random(f"{seed} questions")
        return [self._question(number, seed, rng) for number in range(count)]

    def _question(self, number: int, seed: int, rng: Random) -> Question[Poster]:
        scene = sample_scene(rng, held_out=True)
        width, height = rng.choice(SIZES)
        caption = write_caption(scene, rng)
        return Question(
            number=number, kind="caption", prompt=caption.text, width=width, height=height,
            seed=seed + number, wanted=Poster(scene, caption.asked),
        )  # fmt: skip

    def judge(self, question: Question[Poster], picture: Image) -> list[Mark]:
        """A mark for every attribute that the prompt names."""
        from pixart_cli.diffusion.posters.detector import detect

        found = detect(picture, question.wanted.scene, question.wanted.asked)
        return [(_plain(name), seen) for name, seen in found.items()]


def _plain(name: str) -> str:
    return name.replace("shape0", "shape").replace("shape1", "shape")
