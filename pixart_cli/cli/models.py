"""`pixart models`: weights on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pixart_cli.cli import cache, convert, options
from pixart_cli.cli.consent import can_ask, obtain
from pixart_cli.cli.options import door_of, switched_on
from pixart_cli.cli.output import Printer, size_words, table
from pixart_cli.cli.progress import PullProgress
from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.features.models import ModelState, Removal, Verdict

SCHEMA: Final = "pixart.models/1"

app = typer.Typer(help="Which models there are, and where.", no_args_is_help=True, rich_markup_mode=None)
app.command("cache")(cache.cache)
app.command("convert")(convert.convert)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of the list.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, only errors.")]
Progress = Annotated[
    str, typer.Option("--progress", metavar="auto|bar|plain|none", help="How progress is shown. [auto]")
]


@app.command("list")
def list_models(context: typer.Context, json: options.AsJson = False) -> None:
    """List the models: those on this machine, and those that could be."""
    printer = door_of(context, as_json=json).printer
    from pixart_cli.features.models import survey

    states = survey()
    printer.data(table([_row(state) for state in states]))
    printer.document(SCHEMA, models=[_dict(state) for state in states])


@app.command("pull")
def pull(
    context: typer.Context,
    name: Name,
    yes: Yes = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    quiet: Quiet = False,
    progress: Progress = "auto",
    json: options.AsJson = False,
) -> None:
    """Download the weights of NAME, compare every file with the hub's hashes, and keep a record of that.

    Goes on with what an earlier pull left, and replaces what is damaged; where all is whole nothing is done.
    """
    printer = _printer(context, as_json=json, quiet=quiet)
    spec, values = get_model(name), _values(yes=yes, offline=offline, progress=progress)
    from pixart_cli.features.models import survey

    state = next(state for state in survey() if state.spec.name == name)
    if not spec.built_in and not (state.installed and state.record and state.record.verified):
        missing = state.problem.message if state.problem else ""
        fetched = obtain(printer, spec, missing, values)
        state = next(state for state in survey() if state.spec.name == name)
    else:
        fetched = 0
        printer.say(f"{name} is on this machine, and whole")
    printer.document(SCHEMA, **_dict(state), fetched_bytes=fetched, files=_files(state))


@app.command("verify")
def verify(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A model of the list; all that are here.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and compare the hashes.")] = False,
    quiet: Quiet = False,
    progress: Progress = "auto",
    json: options.AsJson = False,
) -> None:
    """Compare the weights on this machine with the record of their download; no network."""
    printer = _printer(context, as_json=json, quiet=quiet)
    from pixart_cli.features.models import survey
    from pixart_cli.features.models import verify as compare

    names = [name] if name else [state.spec.name for state in survey() if state.word in ("here", "damaged")]
    with PullProgress(printer, _mode(progress)).shown() as (on_check, _):
        verdicts = compare(names, deep=deep, on_check=on_check)
    for verdict in verdicts:
        if verdict.problem is None:
            printer.say(_found(verdict))
    problems = [verdict.problem for verdict in verdicts if verdict.problem is not None]
    shown = [_verdict(verdict) for verdict in verdicts]
    printer.attach(SCHEMA, models=shown)
    for problem in problems[:-1]:
        printer.trouble(problem)
    if problems:
        raise problems[-1]
    printer.document(SCHEMA, models=shown)


@app.command("remove")
def remove(
    context: typer.Context, name: Name, yes: Yes = False, quiet: Quiet = False, json: options.AsJson = False
) -> None:
    """Remove the weights of NAME, but for files that another model on this machine needs."""
    printer = _printer(context, as_json=json, quiet=quiet)
    from pixart_cli.features.models import plan_removal
    from pixart_cli.features.models import remove as take_away

    removal = plan_removal(name)
    size = removal.size_bytes
    _agree(printer, removal, size, agreed=yes or switched_on("PIXART_YES"))
    take_away(removal, printer.say)
    printer.say(f"{name} was removed: {size_words(size)} are free again")
    printer.document(SCHEMA, name=name, freed_bytes=size, shared_with=list(removal.shared_with))


@app.command("path")
def path(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the list, or a folder.")],
    json: options.AsJson = False,
) -> None:
    """Print the folders that hold the parts of MODEL, one a line."""
    printer = door_of(context, as_json=json).printer
    from pixart_cli.features.models import folders

    found = folders(model)
    for folder in dict.fromkeys(found.values()):
        printer.path(folder)
    printer.document(
        SCHEMA, model=model, parts={component: str(folder) for component, folder in found.items()}
    )


def _printer(context: typer.Context, *, as_json: bool, quiet: bool) -> Printer:
    printer = door_of(context, as_json=as_json).printer
    printer.quiet |= quiet
    return printer


def _values(*, yes: bool, offline: bool, progress: str) -> dict[str, Any]:
    """The settings that a download heeds, as `gen` has them."""
    return {
        "yes": yes or switched_on("PIXART_YES"),
        "offline": offline or switched_on("PIXART_OFFLINE"),
        "progress": _mode(progress),
    }


def _mode(progress: str) -> str:
    if progress not in ("auto", "bar", "plain", "none"):
        raise PixartError("usage", f"--progress cannot be {progress!r}", "Known: auto, bar, plain, none.")
    return progress


def _agree(printer: Printer, removal: Removal, size: int, *, agreed: bool) -> None:
    """Say what goes, and what stays and why; ask unless it was `agreed` to."""
    if removal.shared_with:
        printer.say(f"what {', '.join(removal.shared_with)} needs of it stays")
    if agreed:
        return
    if not can_ask():
        raise PixartError("usage", f"{removal.model} is removed only on request", "Add --yes to remove it.")
    if not printer.ask(f"Remove {len(removal.paths)} files of {removal.model}, {size_words(size)}?"):
        raise typer.Abort


def _row(state: ModelState) -> tuple[str, str, str, str, str]:
    return state.spec.name, state.word, _size(state), state.revision[:12], state.spec.title


def _size(state: ModelState) -> str:
    if state.installed is not None:
        return size_words(state.installed.size_bytes)
    whole = _whole_size(state)
    about = ("" if state.record else "about ") + size_words(whole) if whole else ""
    return f"{size_words(state.bytes_here)} of {about}" if state.bytes_here else about


def _whole_size(state: ModelState) -> int | None:
    if state.record is not None:
        return sum(file.size for file in state.record.files)
    return state.spec.approx_bytes


def _dict(state: ModelState) -> dict[str, Any]:
    spec, there = state.spec, state.installed
    return {
        "name": spec.name,
        "title": spec.title,
        "native": spec.native,
        "license": spec.license,
        "built_in": spec.built_in,
        "installed": there is not None,
        "state": state.word,
        "size_bytes": there.size_bytes if there else _whole_size(state),
        "bytes_here": there.size_bytes if there else state.bytes_here,
        "revision": state.revision or None,
        "verified": (state.record.verified or None) if state.record else None,
        "problem": {"code": state.problem.code, "message": state.problem.message} if state.problem else None,
    }


def _files(state: ModelState) -> list[dict[str, Any]]:
    files = state.record.files if state.record else ()
    return [
        {
            "repo": file.repo,
            "commit": file.commit,
            "name": file.name,
            "size": file.size,
            "digest": file.digest,
        }
        for file in files
    ]


def _found(verdict: Verdict) -> str:
    if not verdict.files:
        return f"{verdict.model}: headers are sound; no record of a download to compare with"
    how = "every byte is" if verdict.hashed else "sizes are"
    return f"{verdict.model}: {verdict.files} files, {how} as published"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    problem = verdict.problem
    return {
        "name": verdict.model,
        "whole": problem is None,
        "files": verdict.files,
        "hashed": verdict.hashed,
        "damaged": list(verdict.damaged),
        "problem": {"code": problem.code, "message": problem.message} if problem else None,
    }
