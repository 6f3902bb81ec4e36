"""What draws, fetched first if it is not here: after saying how much that is, and being told to."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixart_cli.cli.options import Door, switched_on
from pixart_cli.cli.output import Printer, is_terminal, size_words
from pixart_cli.cli.progress import PullProgress
from pixart_cli.core.catalog import ModelSpec, catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import MEGABYTE
from pixart_cli.core.rendering import Renderer

if TYPE_CHECKING:
    from pathlib import Path

    from pixart_cli.diffusion.device import MemoryPlan
    from pixart_cli.features.generate import Order
    from pixart_cli.features.models import HubFile, LoraPlan, PullEvent


def renderer_of(door: Door, order: Order, values: Mapping[str, Any]) -> Renderer:
    """What draws `order`; `values` are settings: prompt_cache, offline, yes and progress count here.

    Raises:
        PixartError: "model-missing" when its weights are not here and were not fetched, "download-failed",
            "weights-invalid".
    """
    return renderer_for(door, order.model, order.plan, order.files, values)


def renderer_for(
    door: Door,
    model: str,
    plan: MemoryPlan,
    files: Mapping[str, Path],
    values: Mapping[str, Any],
    *,
    together: bool = False,
) -> Renderer:
    """What draws with `model` as `plan` says; as :func:`renderer_of`. The rest is as for `network`."""
    from pixart_cli.features.generate import network

    if door.renderers is not None:
        return door.renderers(model, plan)
    cache_bytes = values["prompt_cache"] * MEGABYTE
    try:
        return network(model, plan, files, cache_bytes=cache_bytes, together=together)
    except PixartError as missing:
        if missing.code != "model-missing":
            raise
        _obtain_for(door.printer, model, missing, values)
    return network(model, plan, files, cache_bytes=cache_bytes, together=together)


def with_weights(door: Door, model: str, values: Mapping[str, Any]) -> None:
    """See to it that the weights of `model` are here.

    Raises:
        PixartError: as :func:`renderer_of`.
    """
    from pixart_cli.features.generate import find_weights

    if door.renderers is not None:
        return
    try:
        find_weights(model)
    except PixartError as missing:
        if missing.code != "model-missing":
            raise
        _obtain_for(door.printer, model, missing, values)


def obtain_loras(printer: Printer, wishes: Sequence[str], values: Mapping[str, Any]) -> None:
    """Fetch those LoRAs of `wishes` that are names of the hub and not here, once someone agreed.

    Offline, and for a plan alone, nothing is fetched: whoever looks for them will say what is missing.

    Raises:
        PixartError: "lora-missing" when nobody agreed or may be asked, "download-failed", "weights-invalid",
            "disk".
    """
    from pixart_cli.features.models import is_elsewhere

    if is_offline(values) or values.get("dry_run"):
        return
    for wish in filter(is_elsewhere, wishes):
        if not values["yes"] and not can_ask():
            what = f"the LoRA {wish} is not on this machine"
            raise PixartError("lora-missing", what, "Check the name; add --yes to download it from the hub.")
        _obtain_lora(printer, wish, values)


def _obtain_lora(printer: Printer, wish: str, values: Mapping[str, Any]) -> None:
    from pixart_cli.features.models import fetch_lora, plan_lora

    plan, agreed = plan_lora(wish, printer.say), bool(values["yes"])
    _agree(printer, f"the LoRA {plan.name}", plan.size_bytes, agreed=agreed, code="lora-missing")
    with PullProgress(printer, values["progress"]).shown() as (on_pull, tell):
        fetch_lora(plan, lambda file, done: on_pull(_event(plan, file, done)), tell)


def _event(plan: LoraPlan, file: HubFile, done: int) -> PullEvent:
    from pixart_cli.features.models import PullEvent

    index = plan.files.index(file)
    before = sum(each.size for each in plan.files[:index])
    return PullEvent(
        stage="fetch", name=file.name, done=done, size=file.size, index=index + 1, count=len(plan.files),
        total_done=before + done, total=plan.size_bytes,
    )  # fmt: skip


def _obtain_for(printer: Printer, model: str, missing: PixartError, values: Mapping[str, Any]) -> None:
    """Fetch the model of the catalogue, or those parts of a folder that all models of its family share.

    Raises:
        PixartError: `missing` where nothing can be fetched, and as :func:`obtain`.
    """
    spec = catalog().get(model)
    if spec is not None and not spec.built_in:
        obtain(printer, spec, missing.message, values)
        return
    if spec is not None or is_offline(values):
        raise missing
    from pixart_cli.features.models import absent_shared, plan_parts, pull_parts

    row, components = absent_shared(Path(model))
    if not components or not (values["yes"] or can_ask()):
        hint = f"{missing.hint} Or add --yes, and they are downloaded." if components else missing.hint
        raise PixartError(missing.code, missing.message, hint)
    plan = plan_parts(row, components, printer.say)
    _agree(printer, f"what {model} lacks", plan.bytes_to_fetch, agreed=bool(values["yes"]))
    with PullProgress(printer, values["progress"]).shown() as (on_pull, tell):
        pull_parts(plan, on_pull, tell)


def is_offline(values: Mapping[str, Any]) -> bool:
    """Whether the network must not be touched."""
    return bool(values["offline"]) or switched_on("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def obtain(printer: Printer, spec: ModelSpec, missing: str, values: Mapping[str, Any]) -> int:
    """Fetch `spec` once someone agreed; gives the bytes fetched.

    `missing` says what is not here, and is empty where all is here that was never compared with the hub.

    Raises:
        PixartError: "model-missing" when nobody agreed or may be asked, "download-failed", "disk",
            "weights-invalid".
    """
    if is_offline(values):
        hint = f"Go online (no --offline, no HF_HUB_OFFLINE), or draw with what is here: {_installed()}."
        what = missing or f"{spec.name} was never compared with the hub, and the network is not to be used"
        raise PixartError("model-missing", what, hint)
    if missing and not values["yes"] and not can_ask():
        about = f" (at most about {size_words(spec.approx_bytes)})" if spec.approx_bytes else ""
        raise PixartError("model-missing", missing, f"Add --yes to download it{about}.")
    from pixart_cli.features.models import RevisionGoneError

    try:
        return _fetch(printer, spec, values, afresh=False)
    except RevisionGoneError:
        printer.say(f"the revision of {spec.name} that was begun is gone from the hub: taking today's")
        return _fetch(printer, spec, values, afresh=True)


def _fetch(printer: Printer, spec: ModelSpec, values: Mapping[str, Any], *, afresh: bool) -> int:
    from pixart_cli.features.models import check, fetch, plan_pull

    plan = plan_pull(spec, printer.say, afresh=afresh)
    if plan.unchecked:
        printer.say(f"{spec.name}: what is on this machine is compared with the hub's hashes")
        with PullProgress(printer, values["progress"]).shown() as (on_pull, tell):
            plan = check(plan, on_pull, tell)
    size = plan.bytes_to_fetch
    if plan.missing:
        _agree(printer, spec.name, size, agreed=bool(values["yes"]))
    with PullProgress(printer, values["progress"]).shown() as (on_pull, tell):
        fetch(plan, on_pull, tell)
    return size


def _agree(printer: Printer, name: str, size: int, *, agreed: bool, code: str = "model-missing") -> None:
    """Say that `size` bytes will come over the network, and ask unless it was `agreed` to."""
    what = f"{name} is not on this machine: {size_words(size)} to download"
    if agreed:
        printer.say(what)
    elif not can_ask():
        raise PixartError(code, what, "Add --yes to download it.")
    elif not printer.ask(f"{what}. Download it now?"):
        hint = f"Draw with what is here: {_installed()}." if code == "model-missing" else "Leave it out."
        raise PixartError(code, f"{name} was not downloaded", hint)


def can_ask() -> bool:
    """Whether somebody sits before this: standard input and standard error are a terminal."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _installed() -> str:
    from pixart_cli.features.models import survey

    return ", ".join(state.spec.name for state in survey() if state.installed) or "none is here"
