"""`pixart models cache`: the prompts' embeddings kept on disk."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import size_words, table
from pixart_cli.core.options import MEGABYTE
from pixart_cli.core.settings import lay_over

SCHEMA: Final = "pixart.cache/1"


def cache(
    context: typer.Context,
    clear: Annotated[bool, typer.Option("--clear", help="Remove them all.", show_default=False)] = False,
    json: options.AsJson = False,
) -> None:
    """Show what is kept of prompts, so that the text encoder need not read them again, or remove it.

    The embeddings are kept, never the texts. --prompt-cache 0, or PIXART_PROMPT_CACHE=0, keeps none.
    """
    printer = door_of(context, as_json=json).printer
    settings = lay_over({})
    for warning in settings.warnings:
        printer.warn(warning)
    from pixart_cli.features.cache import look

    found = look(settings.values["prompt_cache"] * MEGABYTE, clear=clear)
    size, most = size_words(found.contents.size_bytes), size_words(found.limit_bytes)
    rows = [
        ("prompts", str(found.contents.entries)),
        ("size", f"{size} of at most {most}" if found.limit_bytes else f"{size}; no more are kept"),
        ("place", str(found.folder)),
    ]
    if clear:
        what = f"{found.removed.entries} prompts, {size_words(found.removed.size_bytes)}"
        rows = [("removed", what), *rows]
    printer.data(table(rows))
    printer.document(
        SCHEMA, path=str(found.folder), entries=found.contents.entries, bytes=found.contents.size_bytes,
        limit_bytes=found.limit_bytes, removed=found.removed.entries, removed_bytes=found.removed.size_bytes,
    )  # fmt: skip
