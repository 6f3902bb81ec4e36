"""`pixart eval`: how often a model draws what it is asked for, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import Door, door_of
from pixart_cli.cli.output import as_typed
from pixart_cli.cli.progress import Progress

if TYPE_CHECKING:
    from pixart_cli.core.rendering import Renderer
    from pixart_cli.features.evaluate.run import Answer, EvalPlan
    from pixart_cli.features.evaluate.score import Row

SCHEMA: Final = "pixart.eval/1"

SuiteName = Annotated[str, typer.Option("--suite", metavar="NAME", help="mini, or captions. [mini]")]
Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="A model, or a folder. [mini]")]
Prompts = Annotated[int, typer.Option("--prompts", metavar="N", min=1, help="How many questions. [240]")]
Seed = Annotated[int, typer.Option("--seed", "-s", metavar="N", min=0, help="Which questions. [1]")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where pictures and questions are kept."),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, mps or cuda[:N]. [auto]")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")]
Mode = Annotated[
    Literal["auto", "bar", "plain", "none"], typer.Option("--progress", help="How progress is shown.")
]


def evaluate(
    context: typer.Context,
    suite: SuiteName = "mini",
    model: Model = "mini",
    prompts: Prompts = 240,
    seed: Seed = 1,
    output: Output = None,
    device: Device = "auto",
    quiet: Quiet = False,
    progress: Mode = "auto",
    json: options.AsJson = False,
) -> None:
    """Ask a model for pictures, look at them with a program, and print how often they are right.

    Beside the model stand pictures that are right (ceiling) and wrong (floor). Stop it at any time:
    the same command goes on where it was. The folder is eval-SUITE-MODEL-SEED unless named.

    \b
    Examples:
      pixart eval --suite mini --prompts 60
      pixart eval --suite mini -m strong/model --prompts 500 -o strong-eval/
    """
    door = door_of(context, as_json=json)
    door.printer.quiet |= quiet
    from pixart_cli.core.template import slug
    from pixart_cli.features.evaluate.run import plan_evaluation
    from pixart_cli.features.evaluate.suites import get_suite

    plan = plan_evaluation(get_suite(suite), model, count=prompts, seed=seed, device=device)
    name = slug(Path(model).absolute().name)
    folder = Path(output or f"eval-{suite}-{name}-{seed}").expanduser().absolute()
    given = draw(door, plan, folder, progress)
    rows = _table(door, plan, given)
    _finish(door, plan, rows, given, folder, output)


def draw(door: Door, plan: EvalPlan, folder: Path | None, mode: str) -> list[Answer]:
    """Every answer, with a line or a bar for those who wait."""
    from pixart_cli.features.evaluate.run import answers
    from pixart_cli.features.generate import network

    def renderer() -> Renderer:
        make = door.renderers or network
        return make(plan.model, plan.memory)

    given: list[Answer] = []
    bars = Progress(door.printer, mode, len(plan.questions))
    with bars.shown() as on_progress:
        for answer in answers(plan, renderer, folder, on_progress=on_progress):
            given.append(answer)
            if not answer.kept:
                with bars.aside():
                    verdict = "right" if answer.correct else "wrong"
                    bars.line(f"{len(given)}/{len(plan.questions)} {verdict}: {answer.question.prompt}")
    return given


def _table(door: Door, plan: EvalPlan, given: list[Answer]) -> list[Row]:
    from pixart_cli.features.evaluate.run import table_of
    from pixart_cli.features.evaluate.score import markdown

    kept = sum(answer.kept for answer in given)
    if kept:
        door.printer.say(f"{kept} of {len(given)} pictures were there already")
    door.printer.say("judging pictures that are right, and wrong")
    rows = table_of(plan.suite, given)
    door.printer.data("\n".join(markdown(rows, "kind" if plan.suite.rows else "attribute")))
    return rows


def _finish(
    door: Door, plan: EvalPlan, rows: list[Row], given: list[Answer], folder: Path, output: str | None
) -> None:
    from pixart_cli.features.evaluate.folder import RunFolder

    kept = RunFolder(folder)
    images = [
        {
            "path": str(as_typed(kept.picture_path(answer.question.number), output)),
            "tag": answer.question.kind,
            "prompt": answer.question.prompt,
            "correct": answer.correct,
        }
        for answer in sorted(given, key=lambda each: each.question.number)
    ]
    found: dict[str, Any] = {**plan.facts(), "prompts": len(given), "rows": [row.to_dict() for row in rows]}
    kept.finish({"schema": SCHEMA, **found})
    shown = as_typed(folder, output)
    door.printer.say(f"pictures, questions and summary.json are in {shown}")
    reused = sum(answer.kept for answer in given)
    door.printer.document(SCHEMA, folder=str(shown), kept=reused, **found, images=images)
