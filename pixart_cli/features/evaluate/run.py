"""An evaluation from beginning to end: questions, pictures drawn or kept, verdicts, the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.rendering import ProgressCallback, Renderer
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Size, choose_bin
from pixart_cli.core.settings import Job
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.evaluate.folder import RunFolder
from pixart_cli.features.evaluate.score import Row, rows_of, tally
from pixart_cli.features.evaluate.suite import Mark, Question, Suite
from pixart_cli.features.generate import plan_for, png_of, spec_of

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA: Final = "pixart.eval/1"


@dataclass(frozen=True, kw_only=True)
class EvalPlan:
    """What will be asked of which model, and how each picture is asked for."""

    suite: Suite[Any]
    model: str
    revision: str
    spec: ModelSpec
    seed: int
    questions: tuple[Question[Any], ...]
    requests: tuple[GenerationRequest, ...]
    memory: MemoryPlan

    def facts(self) -> dict[str, Any]:
        """All that decides the pictures and verdicts of a question, as JSON data."""
        return {
            "definition": self.suite.definition,
            "seed": self.seed,
            "model": self.spec.name,
            "weights": self.revision,
            "steps": self.spec.default_steps,
            "guidance": self.spec.default_guidance,
            "guidance_until": self.spec.default_guidance_until,
            "scheduler": self.spec.default_scheduler,
        }


@dataclass(frozen=True)
class Answer:
    """A question with its picture judged; `kept` if it was drawn by an earlier run."""

    question: Question[Any]
    picture: Image
    marks: tuple[Mark, ...]
    kept: bool

    @property
    def correct(self) -> bool:
        """Whether the picture has all that was asked for."""
        return all(seen for _, seen in self.marks)


def plan_evaluation(suite: Suite[Any], model: str, *, count: int, seed: int, device: str) -> EvalPlan:
    """What `count` questions of `suite` ask of `model`, drawn with the defaults of its catalogue's row.

    Raises:
        PixartError: "model-unknown", "model-missing", "weights-invalid", or as `device.plan`.
    """
    spec, revision = spec_of(model), locate(model).revision
    questions = tuple(suite.questions(count, seed))
    requests = tuple(_request(question, model, spec) for question in questions)
    largest = max(requests, key=lambda request: request.width * request.height)
    return EvalPlan(
        suite=suite, model=model, revision=revision, spec=spec, seed=seed, questions=questions,
        requests=requests, memory=plan_for(spec, largest, device=device, memory="auto"),
    )  # fmt: skip


def _request(question: Question[Any], model: str, spec: ModelSpec) -> GenerationRequest:
    native = choose_bin(question.width, question.height, spec.native)
    return GenerationRequest(
        prompt=question.prompt, model=model, width=native.width, height=native.height,
        num_inference_steps=spec.default_steps, guidance_scale=spec.default_guidance,
        guidance_until=spec.default_guidance_until, scheduler=spec.default_scheduler, seed=question.seed,
    )  # fmt: skip


def answers(
    plan: EvalPlan, renderer: Callable[[], Renderer], folder: Path | None, *, on_progress: ProgressCallback
) -> Iterator[Answer]:
    """Every question answered: from `folder` first, then by `renderer`, which is made only if needed.

    What is drawn is in `folder` before it is given.

    Raises:
        PixartError: "output-invalid" for a folder of something else, "disk", or as `Renderer.render`.
    """
    kept = RunFolder(folder) if folder is not None else None
    if kept is not None:
        kept.begin(plan.facts())
    missing: list[int] = []
    for number, (question, request) in enumerate(zip(plan.questions, plan.requests, strict=True)):
        picture = kept.kept(number, request) if kept is not None else None
        if picture is None:
            missing.append(number)
        else:
            yield _judged(plan, question, picture, kept=True)
    if missing:
        yield from _drawn(plan, missing, renderer(), kept, on_progress)


def _drawn(
    plan: EvalPlan,
    numbers: Sequence[int],
    renderer: Renderer,
    folder: RunFolder | None,
    on_progress: ProgressCallback,
) -> Iterator[Answer]:
    requests = [plan.requests[number] for number in numbers]
    renderings = renderer.render(requests, on_progress=on_progress)
    for index, (number, rendering) in enumerate(zip(numbers, renderings, strict=True)):
        question, request = plan.questions[number], plan.requests[number]
        if folder is not None:
            job = Job(request=request, size=Size(request.width, request.height), preset=None, index=index)
            folder.keep(number, png_of(rendering, job, "full"), question_dict(plan.suite, question))
        yield _judged(plan, question, rendering.pixels, kept=False)


def question_dict(suite: Suite[Any], question: Question[Any]) -> dict[str, Any]:
    """A question as JSON data, with GenEval's keys ``tag`` and ``prompt``."""
    return {"tag": question.kind, "prompt": question.prompt, "seed": question.seed} | suite.describe(question)


def _judged(plan: EvalPlan, question: Question[Any], picture: Image, *, kept: bool) -> Answer:
    return Answer(question, picture, tuple(judge(plan.suite, question, picture)), kept)


def judge(suite: Suite[Any], question: Question[Any], picture: Image) -> list[Mark]:
    """The marks of `picture`, of any size of the question's shape."""
    from PIL import Image as Pillow

    if picture.size != question.size:
        picture = picture.resize(question.size, Pillow.Resampling.LANCZOS)
    return suite.judge(question, picture)


def table_of(suite: Suite[Any], given: Iterable[Answer]) -> list[Row]:
    """The table of `given`, beside pictures that are right (ceiling) and right for another question (floor).

    The other question is the next one of the same kind.
    """
    marked = sorted(given, key=lambda answer: answer.question.number)
    questions = [answer.question for answer in marked]
    scores = tally(answer.marks for answer in marked)
    ceiling = tally(ceiling_marks(suite, questions))
    return rows_of(scores, ceiling, tally(floor_marks(suite, questions)), suite.rows)


def ceiling_marks(suite: Suite[Any], questions: Sequence[Question[Any]]) -> Iterator[list[Mark]]:
    """The marks of each picture that is right."""
    for question in questions:
        picture = suite.reference(question, question.size)
        if picture is not None:
            yield judge(suite, question, picture)


def floor_marks(suite: Suite[Any], questions: Sequence[Question[Any]]) -> Iterator[list[Mark]]:
    """The marks of each picture that is right for the next question of the same kind."""
    for kind in dict.fromkeys(question.kind for question in questions):
        alike = [question for question in questions if question.kind == kind]
        for question, other in zip(alike, [*alike[1:], alike[0]], strict=True):
            picture = suite.reference(other, question.size) if other is not question else None
            if picture is not None:
                yield judge(suite, question, picture)
