"""How often the model draws what it was asked for: held-out prompts, a detector, its ceiling and floor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.png import encode
from pixart_cli.core.publish import publish
from pixart_cli.core.rendering import ProgressEvent, Renderer
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import device
from pixart_cli.features import generate
from pixart_cli.features.train.caption import Caption, write_caption
from pixart_cli.features.train.detector import detect
from pixart_cli.features.train.draw import draw
from pixart_cli.features.train.scene import Scene, sample_scene

Report = Callable[[str], None]

SIZES = ((256, 256), (336, 192), (208, 304))  # (width, height): native bins, so nothing is resampled


@dataclass(frozen=True, kw_only=True)
class Question:
    """A held-out scene, one way of asking for it, and the size to draw it in."""

    scene: Scene
    caption: Caption
    width: int
    height: int
    seed: int


@dataclass(frozen=True)
class Score:
    """`found` of `asked`; the interval is Wilson's at 95 %."""

    found: int
    asked: int

    @property
    def rate(self) -> float:
        """The share found, 0..1."""
        return self.found / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the rate."""
        z, n, p = 1.96, self.asked, self.rate
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)


def held_out_questions(count: int, seed: int) -> list[Question]:
    """`count` questions whose scenes hold a combination that training never showed."""
    rng = Random(f"{seed} questions")
    questions = []
    for i in range(count):
        scene = sample_scene(rng, held_out=True)
        width, height = rng.choice(SIZES)
        questions.append(
            Question(
                scene=scene, caption=write_caption(scene, rng), width=width, height=height, seed=seed + i
            )
        )
    return questions


def score(questions: Sequence[Question], pictures: Iterable[Image.Image]) -> dict[str, Score]:
    """Per attribute, and under "all", how often `pictures` show what `questions` ask for."""
    found: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    for question, picture in zip(questions, pictures, strict=True):
        for name, seen in detect(picture, question.scene, question.caption.asked).items():
            for key in (_plain(name), "all"):
                asked[key] += 1
                found[key] += seen
    return {name: Score(found[name], asked[name]) for name in sorted(asked)}


def _plain(name: str) -> str:
    return name.replace("shape0", "shape").replace("shape1", "shape")


def drawn(questions: Sequence[Question]) -> list[Image.Image]:
    """The pictures the training data would have had for `questions`: the ceiling of the measure."""
    return [draw(q.scene, q.width, q.height, seed=q.seed) for q in questions]


def shuffled(questions: Sequence[Question]) -> list[Image.Image]:
    """For each question the drawn picture of another one: the floor of the measure."""
    others = [*questions[1:], questions[0]]
    return [draw(o.scene, q.width, q.height, seed=o.seed) for q, o in zip(questions, others, strict=True)]


def rendered(
    questions: Sequence[Question], renderer: Renderer, spec: ModelSpec, report: Report
) -> list[Image.Image]:
    """The model's pictures for `questions`, with the defaults of its catalogue row `spec`."""
    requests = [
        GenerationRequest(
            prompt=q.caption.text,
            model=spec.name,
            width=q.width,
            height=q.height,
            num_inference_steps=spec.default_steps,
            guidance_scale=spec.default_guidance,
            scheduler=spec.default_scheduler,
            seed=q.seed,
        )
        for q in questions
    ]
    pictures = []
    for rendering in renderer.render(requests, on_progress=_ignore):
        pictures.append(rendering.pixels)
        if len(pictures) % 20 == 0:
            report(f"{len(pictures)} of {len(requests)} pictures drawn")
    return pictures


def _ignore(event: ProgressEvent) -> None:
    return None


def measure_model(
    model: str, *, count: int, seed: int, sheet: Path | None, report: Report, renderer: Renderer | None = None
) -> list[str]:
    """Draw `count` held-out prompts with `model` and give the lines of the table; `sheet` gets the first 64.

    Raises:
        PixartError: as `Renderer.render` does, or "disk".
    """
    spec = generate.spec_of(model)
    if renderer is None:
        plan = device.plan(device.probe(), spec, spec.native, spec.native, device="auto", memory="auto")
        renderer = generate.network(model, plan)
    questions = held_out_questions(count, seed)
    pictures = rendered(questions, renderer, spec, report)
    if sheet is not None:
        publish(encode(contact_sheet(pictures[:64]), [], dpi=None), sheet, force=True)
    return table(*(score(questions, seen) for seen in (pictures, drawn(questions), shuffled(questions))))


def contact_sheet(pictures: Sequence[Image.Image], columns: int = 8, cell: int = 192) -> Image.Image:
    """The pictures in rows, each fitted into a square cell."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (cell + 6) + 6, rows * (cell + 6) + 6), (250, 250, 250))
    for i, picture in enumerate(pictures):
        small = picture.copy()
        small.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        x, y = 6 + (i % columns) * (cell + 6), 6 + (i // columns) * (cell + 6)
        sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))
    return sheet


def table(model: Mapping[str, Score], ceiling: Mapping[str, Score], floor: Mapping[str, Score]) -> list[str]:
    """Lines of a Markdown table: attribute, asked, model with interval, ceiling, floor."""
    lines = [
        "| attribute | asked | found (95 % interval) | drawn pictures | wrong pictures |",
        "|---|---|---|---|---|",
    ]
    for name, value in model.items():
        low, high = value.interval
        rates = (
            f"{value.rate:.0%} ({low:.0%} to {high:.0%}) | {ceiling[name].rate:.0%} | {floor[name].rate:.0%}"
        )
        lines.append(f"| {name} | {value.asked} | {rates} |")
    return lines
