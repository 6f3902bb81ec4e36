"""Whatever went wrong, as a `PixartError`: the one place that turns an exception into message and exit code.

Our own errors pass through. Of others only those are foreseen that no part could have caught better:
mistyped options, signals, memory, a missing library. All else is a bug, and says so.
"""

from __future__ import annotations

import traceback
from typing import Final

import typer

from pixart_cli.cli.signals import Terminated
from pixart_cli.core.errors import PixartError

# Typer brings its own click or uses the real one, by version; this names the class in both.
UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]

_REINSTALL: Final = "Install pixart again: pip install --force-reinstall pixart-cli"


def as_error(failure: BaseException) -> PixartError:
    """`failure` as the sentence, hint and exit code that a person and a script shall see."""
    if isinstance(failure, PixartError):
        return failure
    if isinstance(failure, UsageError):
        return _usage(failure)
    if isinstance(failure, (KeyboardInterrupt, typer.Abort)):
        return PixartError("interrupted", "interrupted")
    if isinstance(failure, Terminated):
        return PixartError("terminated", "terminated")
    if isinstance(failure, MemoryError):
        hint = "Close other programs, or choose a smaller size."
        return PixartError("out-of-memory", "memory ran out", hint)
    if isinstance(failure, ImportError) and (library := _library(failure)):
        what = f"the library {library} is missing or damaged: {failure}"
        return PixartError("install-broken", what, _REINSTALL)
    what = "".join(traceback.format_exception_only(failure)).strip()
    hint = "Run it again with --debug and report what it shows."
    return PixartError("bug", f"a bug in pixart: {what}", hint)


def _usage(failure: Exception) -> PixartError:
    """Typer's sentence and "did you mean", cut into message and hint."""
    possible: list[str] = sorted(getattr(failure, "possibilities", None) or ())
    text = failure.message if possible else failure.format_message()  # type: ignore[attr-defined]
    text, _, meant = " ".join(text.split()).partition(". Did you mean ")
    hint = f"Did you mean {meant or ' or '.join(possible) + '?'}" if meant or possible else _help_of(failure)
    message = text.rstrip(".")
    return PixartError("usage", message[:1].lower() + message[1:], hint)


def _help_of(failure: Exception) -> str:
    context = getattr(failure, "ctx", None)
    return f"See '{context.command_path if context else 'pixart'} --help'."


def help_page(failure: BaseException) -> str | None:
    """The page to show when a group was named without its command."""
    return str(failure) if type(failure).__name__ == "NoArgsIsHelpError" else None


def _library(failure: ImportError) -> str | None:
    """The library that could not be imported; None for a part of pixart itself, which is a bug."""
    name = (failure.name or "").partition(".")[0]
    return name if name and name != "pixart_cli" else None
