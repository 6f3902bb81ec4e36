"""What draws, fetched first if it is not here: after saying how much that is, and being told to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixart_cli.cli.options import Door, switched_on
from pixart_cli.cli.output import Printer, is_terminal, size_words
from pixart_cli.cli.progress import Progress
from pixart_cli.core.catalog import ModelSpec, catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.core.rendering import Renderer

if TYPE_CHECKING:
    from pixart_cli.features.generate import Order


def renderer_of(door: Door, order: Order, values: Mapping[str, Any]) -> Renderer:
    """What draws `order`; `values` are settings, of which offline, yes and progress count here.

    Raises:
        PixartError: "model-missing" when its weights are not here and were not fetched, "download-failed",
            "weights-invalid".
    """
    from pixart_cli.features.generate import network

    if door.renderers is not None:
        return door.renderers(order.model, order.plan)
    try:
        return network(order.model, order.plan, order.files)
    except PixartError as missing:
        spec = catalog().get(order.model)
        if missing.code != "model-missing" or spec is None or spec.built_in:
            raise
        _fetch(door.printer, spec, missing, values)
    return network(order.model, order.plan, order.files)


def is_offline(values: Mapping[str, Any]) -> bool:
    """Whether the network must not be touched."""
    return bool(values["offline"]) or switched_on("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _fetch(printer: Printer, spec: ModelSpec, missing: PixartError, values: Mapping[str, Any]) -> None:
    if is_offline(values):
        hint = f"Go online (no --offline, no HF_HUB_OFFLINE), or draw with what is here: {_installed()}."
        raise PixartError("model-missing", missing.message, hint)
    if not values["yes"] and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        about = f" (about {size_words(spec.approx_bytes)})" if spec.approx_bytes else ""
        raise PixartError("model-missing", missing.message, f"Add --yes to download it{about}.")
    from pixart_cli.diffusion.hub import download_size, fetch

    what = f"{spec.name} is not on this machine: {size_words(download_size(spec))} to download"
    if values["yes"]:
        printer.say(what)
    elif not printer.ask(f"{what}. Download it now?"):
        hint = f"Draw with what is here: {_installed()}."
        raise PixartError("model-missing", f"{spec.name} was not downloaded", hint)
    with Progress(printer, values["progress"], 1).shown() as on_progress:
        fetch(spec, on_progress)


def _installed() -> str:
    from pixart_cli.features.models import survey

    return ", ".join(state.spec.name for state in survey() if state.installed) or "none is here"
