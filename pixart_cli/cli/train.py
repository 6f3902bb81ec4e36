"""`pixart train`: a configuration is run; and how the built-in model is made and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from pixart_cli.cli import finetune
from pixart_cli.cli.evaluate import draw
from pixart_cli.cli.options import door_of
from pixart_cli.core.paths import state_dir

_HELP: Final = ("-h", "--help")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("run")(finetune.finetune)
app.command("recipes")(finetune.recipes)


@app.callback()
def train() -> None:
    """Train a model on pictures of your own.

    `pixart train CONFIG.toml` is short for `pixart train run CONFIG.toml`.

    \b
    Examples:
      pixart train recipes
      pixart train ink.toml --dry-run
      pixart train ink.toml
      torchrun --nproc-per-node 2 -m pixart_cli train ink.toml
    """


def named(words: Sequence[str]) -> list[str]:
    """`words` of a command line with the command that ``train CONFIG.toml`` leaves out."""
    plain = list(words)
    if plain[:1] != ["train"] or len(plain) < 2:
        return plain
    known = {str(command.name) for command in app.registered_commands}
    is_run = plain[1] not in known.union(_HELP)
    return ["train", "run", *plain[1:]] if is_run else plain


@app.command("mini")
def mini(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the finished model.")],
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Folder of the unfinished; it goes on from there."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="mini, or a folder: go on from it, at full size only."),
    ] = None,
    autoencoder: Annotated[
        str | None,
        typer.Option(
            "--autoencoder", metavar="NAME", help="A model whose autoencoder is taken, not trained."
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Processor threads.")] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="What chance starts from.")] = 0,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes that draw the pictures.")
    ] = 1,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="M", min=0.1, help="Train for this long, all stages together."),
    ] = None,
) -> None:
    """Train mini. Stop it at any time: the same command goes on where it was.

    \b
    Several processes train faster than several threads:
      torchrun --nproc-per-node 2 -m pixart_cli train mini --out mini/
    """
    printer = door_of(context).printer
    from pixart_cli.features.train.mini import pace_of, train_mini
    from pixart_cli.features.train.recipe import MiniRecipe, timed_recipe
    from pixart_cli.features.train.team import join_team

    recipe = MiniRecipe(start=start, autoencoder_from=autoencoder)
    if minutes is not None:
        recipe = timed_recipe(minutes, pace_of(minutes), start=start, autoencoder_from=autoencoder)
    recipe = replace(recipe, seed=seed, threads=threads, workers=workers)
    leads = join_team().leads
    train_mini(out, work or state_dir() / "train-mini", recipe, printer.say if leads else lambda _text: None)
    if leads:
        printer.path(out)


@app.command("measure")
def measure(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="mini, or a folder.")] = "mini",
    prompts: Annotated[int, typer.Option("--prompts", metavar="N", min=1, help="Held-out prompts.")] = 240,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Which prompts.")] = 1,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="PNG", help="Write the first 64 pictures there.")
    ] = None,
) -> None:
    """How often a model draws what held-out prompts ask for, as a Markdown table.

    Prints, per attribute: how often it was asked for and found, the same for drawn pictures (the
    ceiling) and for pictures of other prompts (the floor).
    """
    door = door_of(context)
    from pixart_cli.features.evaluate.run import plan_evaluation, table_of
    from pixart_cli.features.evaluate.score import markdown
    from pixart_cli.features.evaluate.sheet import write_sheet
    from pixart_cli.features.evaluate.suites import get_suite

    suite = get_suite("captions")
    given = draw(door, plan_evaluation(suite, model, count=prompts, seed=seed, device="auto"), None, "auto")
    if sheet is not None:
        write_sheet([answer.picture for answer in given[:64]], sheet)
    door.printer.data("\n".join(markdown(table_of(suite, given), "attribute")) + "\n")
