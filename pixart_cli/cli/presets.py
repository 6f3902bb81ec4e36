"""`pixart presets`: the presets and sizes, and what each sets."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.options import door_of
from pixart_cli.cli.output import Printer, table
from pixart_cli.core.presets import Preset, all_presets, get_preset
from pixart_cli.core.resolution import DEFAULT_DPI, NamedSize, Size, named_sizes, parse_size

SCHEMA: Final = "pixart.presets/1"

app = typer.Typer(help="Presets: starting points with a name.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_presets(
    context: typer.Context,
    sizes: Annotated[bool, typer.Option("--sizes", help="List the sizes that have a name instead.")] = False,
    json: options.AsJson = False,
) -> None:
    """List the presets, or with --sizes the names that --res takes."""
    printer = door_of(context, as_json=json).printer
    if sizes:
        _list_sizes(printer)
        return
    presets = all_presets().values()
    printer.data(table([(preset.name, preset.group, preset.title) for preset in presets]))
    printer.document(SCHEMA, presets=[_dict(preset) for preset in presets])


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset of the list.")],
    json: options.AsJson = False,
) -> None:
    """Show what the preset NAME sets, with all that it extends, as TOML."""
    printer = door_of(context, as_json=json).printer
    preset = get_preset(name)
    printer.data("\n".join([f"# {preset.title}", *_about(preset), *_settings(preset)]))
    printer.document(SCHEMA, presets=[_dict(preset)])


def _about(preset: Preset) -> list[str]:
    lines = [preset.description] if preset.description and preset.description != preset.title else []
    lines.append(str(preset.source))
    return [f"# {line}" for line in lines]


def _settings(preset: Preset) -> list[str]:
    import json

    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in preset.settings.items()]


def _dict(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "title": preset.title,
        "description": preset.description,
        "group": preset.group,
        "extends": preset.extends,
        "settings": dict(preset.settings),
        "source": str(preset.source),
    }


def _list_sizes(printer: Printer) -> None:
    sizes = [(named, parse_size(named.name)) for named in named_sizes()]
    rows = [
        (", ".join((named.name, *named.aliases)), f"{size.width}x{size.height}", _paper(named), named.title)
        for named, size in sizes
    ]
    printer.data(table(rows))
    printer.document(SCHEMA, sizes=[_size_dict(named, size) for named, size in sizes])


def _size_dict(named: NamedSize, size: Size) -> dict[str, Any]:
    return {
        "name": named.name,
        "aliases": list(named.aliases),
        "group": named.group,
        "title": named.title,
        "width": size.width,
        "height": size.height,
        "dpi": size.dpi,
    }


def _paper(size: NamedSize) -> str:
    return "" if size.unit == "px" else f"{size.width:g}x{size.height:g} {size.unit} at {DEFAULT_DPI:g} dpi"
