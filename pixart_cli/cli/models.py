"""`pixart models`: weights on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pixart_cli.cli import cache, options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import size_words, table

if TYPE_CHECKING:
    from pixart_cli.features.models import ModelState

SCHEMA: Final = "pixart.models/1"

app = typer.Typer(help="Which models there are, and where.", no_args_is_help=True, rich_markup_mode=None)
app.command("cache")(cache.cache)


@app.command("list")
def list_models(context: typer.Context, json: options.AsJson = False) -> None:
    """List the models: those on this machine, and those that could be."""
    printer = door_of(context, as_json=json).printer
    from pixart_cli.features.models import survey

    states = survey()
    printer.data(table([_row(state) for state in states]))
    printer.document(SCHEMA, models=[_dict(state) for state in states])


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


def _row(state: ModelState) -> tuple[str, str, str, str]:
    spec = state.spec
    if state.installed is not None:
        where, size = "here", size_words(state.installed.size_bytes)
    else:
        where = "damaged" if state.damaged else "not here"
        size = "about " + size_words(spec.approx_bytes) if spec.approx_bytes else ""
    return spec.name, where, size, spec.title


def _dict(state: ModelState) -> dict[str, Any]:
    spec, there = state.spec, state.installed
    return {
        "name": spec.name,
        "title": spec.title,
        "native": spec.native,
        "license": spec.license,
        "built_in": spec.built_in,
        "installed": there is not None,
        "size_bytes": there.size_bytes if there else spec.approx_bytes,
        "problem": {"code": state.problem.code, "message": state.problem.message} if state.problem else None,
    }
