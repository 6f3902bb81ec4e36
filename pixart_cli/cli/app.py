"""`pixart`: the commands, and what becomes of every failure."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final, NoReturn

import typer

from pixart_cli import __version__
from pixart_cli.cli import batch, compare, doctor, evaluate, generate, info, models, presets, replay, train
from pixart_cli.cli.crew import run_together
from pixart_cli.cli.failure import as_error, help_page
from pixart_cli.cli.options import Door, RendererFactory, switched_on
from pixart_cli.cli.output import Printer, prepare_streams
from pixart_cli.cli.signals import leave_quietly, watched
from pixart_cli.core.errors import PixartError
from pixart_cli.core.garbage import end_of_process
from pixart_cli.core.hub_code import refuse_hub_code

_PIPE_CLOSED: Final = 141

app = typer.Typer(
    name="pixart",
    rich_markup_mode=None,  # rich costs more than all the rest of `--help`
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("gen")(generate.gen)
app.command("batch")(batch.batch)
app.command("info")(info.info)
app.command("replay")(replay.replay)
app.command("compare")(compare.compare)
app.add_typer(presets.app, name="presets")
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)
app.add_typer(train.app, name="train")
app.command("eval")(evaluate.evaluate)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pixart {__version__}")
        raise typer.Exit


@app.callback()
def pixart(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of any error; works after a command, too.")
    ] = False,
) -> None:
    """Draw posters and wallpapers from words.

    \b
    Examples:
      pixart gen "a red sun over blue mountains" --res 4k -o poster.png
      pixart gen "three pine trees at night" -r phone -n 4 -o wallpapers/
      pixart gen "a white moon over the sea" --preset poster-a3 --dry-run
      pixart batch prompts.txt -o posters/
      pixart info poster.png
      pixart replay poster.png
      pixart compare "a red sun" --models mini,sigma-1024
      pixart presets list
      pixart doctor
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script: run `argv`, by default what was typed, and exit with the contract's code."""
    refuse_hub_code()
    words = sys.argv[1:] if argv is None else argv
    code = run_together(words, run)
    leave_quietly()
    end_of_process()
    sys.exit(code)


def run(argv: Sequence[str], *, renderers: RendererFactory | None = None) -> int:
    """Run one command line and give its exit code. `renderers` replaces the networks."""
    args, options = _global_options(argv)
    debug = "--debug" in options or switched_on("PIXART_DEBUG")
    printer = Printer(as_json="--json" in options or switched_on("PIXART_JSON"))
    printer.as_events = "--json-stream" in options
    prepare_streams()
    try:
        with watched() as watch:
            try:
                _dispatch(args, Door(printer, renderers, watch))
            except typer.Exit as ended:
                return ended.exit_code
            except BaseException as failure:  # noqa: BLE001 -- the one place where all failures end
                return _report(watch.ended_by or failure, printer, debug=debug)
    except BaseException as failure:  # noqa: BLE001 -- a signal while reporting
        return as_error(failure).exit_code
    return _PIPE_CLOSED if printer.pipe_closed else 0


def _global_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """`argv` without --debug, and all that stands before a "--": known before, and even without, parsing."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    options, rest = words[:end], words[end:]
    return [word for word in options if word != "--debug"] + rest, options


def _dispatch(args: list[str], door: Door) -> None:
    """Parse and run without Typer's own treatment of errors."""
    if "_PIXART_COMPLETE" in os.environ:  # a shell asks what could come next
        app(args, prog_name="pixart")
    command = typer.main.get_command(app)
    with command.make_context("pixart", train.named(args), obj=door) as context:
        command.invoke(context)


def _is_of_a_page(failure: OSError) -> bool:
    """Whether it was Typer that could not write: pages of help and the version are all that it does."""
    return traceback.extract_tb(failure.__traceback__)[-1].name == "echo"


def _report(failure: BaseException, printer: Printer, *, debug: bool) -> int:
    """Tell `failure` and give its exit code."""
    if isinstance(failure, SystemExit):
        return failure.code if isinstance(failure.code, int) else 1
    if isinstance(failure, OSError) and _is_of_a_page(failure):
        try:
            printer.lost(failure)
        except PixartError as unwritten:
            failure = unwritten
        else:
            return _PIPE_CLOSED
    error = as_error(failure)
    if debug:
        printer.note("".join(traceback.format_exception(failure)).rstrip())
    page = help_page(failure)
    if page and not printer.as_json:
        printer.note(page)
        return error.exit_code
    try:
        printer.fail(PixartError("usage", "a command is missing", "See --help.") if page else error)
    except PixartError as unwritable:  # the document found no reader
        printer.note(f"error: {unwritable.message}")
    return error.exit_code
