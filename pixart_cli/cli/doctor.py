"""`pixart doctor`: the machine, the plan it leads to, and what would make it better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import table
from pixart_cli.core.errors import PixartError

if TYPE_CHECKING:
    from pixart_cli.features.doctor import Finding

SCHEMA: Final = "pixart.doctor/1"


def doctor(context: typer.Context, json: options.AsJson = False) -> None:
    """Examine this machine: libraries, devices, memory, disk, models, and the plan they lead to.

    Exit code 0 unless something is broken, then 4. Advice alone breaks nothing.
    """
    printer = door_of(context, as_json=json).printer
    from pixart_cli.features.doctor import examine

    findings = examine()
    printer.data(table([row for finding in findings for row in _lines(finding)]))
    rows = [{"subject": f.subject, "state": f.state, "text": f.text, "remedy": f.remedy} for f in findings]
    broken = [finding for finding in findings if finding.state == "broken"]
    if broken:
        printer.attach(SCHEMA, findings=rows)
        what = ", ".join(finding.subject for finding in broken)
        raise PixartError("install-broken", f"not in order: {what}", broken[0].remedy)
    printer.document(SCHEMA, findings=rows)


def _lines(finding: Finding) -> list[tuple[str, str, str]]:
    """A finding, and its remedy under it."""
    lines: list[tuple[str, str, str]] = [(finding.state, finding.subject, finding.text)]
    return [*lines, ("", "", f"-> {finding.remedy}")] if finding.remedy else lines
