"""What draws, fetched first if it is not here: after saying how much that is, and being told to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixart_cli.cli.options import Door, switched_on
from pixart_cli.cli.output import Printer, is_terminal, size_words
from pixart_cli.cli.progress import PullProgress
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
        return network(order.model, order.plan)
    except PixartError as missing:
        spec = catalog().get(order.model)
        if missing.code != "model-missing" or spec is None or spec.built_in:
            raise
        obtain(door.printer, spec, missing.message, values)
    return network(order.model, order.plan)


def is_offline(values: Mapping[str, Any]) -> bool:
    """Whether the network must not be touched."""
    return bool(values["offline"]) or switched_on("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def obtain(printer: Printer, spec: ModelSpec, missing: str, values: Mapping[str, Any]) -> int:
    """Fetch `spec`, of which `missing` says what is not here, once someone agreed; gives the bytes fetched.

    Raises:
        PixartError: "model-missing" when nobody agreed or may be asked, "download-failed", "disk",
            "weights-invalid".
    """
    if is_offline(values):
        hint = f"Go online (no --offline, no HF_HUB_OFFLINE), or draw with what is here: {_installed()}."
        raise PixartError("model-missing", missing, hint)
    if not values["yes"] and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        about = f" (about {size_words(spec.approx_bytes)})" if spec.approx_bytes else ""
        raise PixartError("model-missing", missing, f"Add --yes to download it{about}.")
    from pixart_cli.features.models import RevisionGoneError

    try:
        return _fetch(printer, spec, values, afresh=False)
    except RevisionGoneError:
        printer.say(f"the revision of {spec.name} that was begun is gone from the hub: taking today's")
        return _fetch(printer, spec, values, afresh=True)


def _fetch(printer: Printer, spec: ModelSpec, values: Mapping[str, Any], *, afresh: bool) -> int:
    from pixart_cli.features.models import fetch, plan_pull

    plan = plan_pull(spec, printer.say, afresh=afresh)
    size = plan.bytes_to_fetch
    _agree(printer, spec.name, size, agreed=bool(values["yes"]))
    with PullProgress(printer, values["progress"]).shown() as (on_pull, tell):
        fetch(plan, on_pull, tell)
    return size


def _agree(printer: Printer, name: str, size: int, *, agreed: bool) -> None:
    """Say that `size` bytes will come over the network, and ask unless it was `agreed` to, or none will."""
    if not size:
        printer.say(f"{name} is on this machine: its files are compared with the hub's hashes")
        return
    what = f"{name} is not on this machine: {size_words(size)} to download"
    if agreed:
        printer.say(what)
    elif not printer.ask(f"{what}. Download it now?"):
        hint = f"Draw with what is here: {_installed()}."
        raise PixartError("model-missing", f"{name} was not downloaded", hint)


def _installed() -> str:
    from pixart_cli.features.models import survey

    return ", ".join(state.spec.name for state in survey() if state.installed) or "none is here"
