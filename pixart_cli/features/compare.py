"""One prompt drawn by several models: a picture each, and a sheet of all with what each one took."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pixart_cli.core.contact_sheet import Cell, contact_sheet, thumbnail
from pixart_cli.core.errors import ERRORS, PixartError, let_go_of_what_failed
from pixart_cli.core.metadata import SOFTWARE, Level
from pixart_cli.core.peers import LEFT_OUT
from pixart_cli.core.png import encode
from pixart_cli.core.publish import publish
from pixart_cli.core.refine import AUTO, DIRECT
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Renderer
from pixart_cli.core.settings import Settings, fresh_seed
from pixart_cli.core.template import STDOUT, distinct, output_paths, slug
from pixart_cli.diffusion.peak import Peak, peak_memory
from pixart_cli.diffusion.weights import parameters_of
from pixart_cli.features.generate import Order, Result, generate, plan_jobs, refuse_existing, spec_of

if TYPE_CHECKING:
    from PIL.Image import Image

NAME: Final = "{slug}-{seed}-compare.png"
RES: Final = "1024x1024"
_ENDING: Final = "-compare"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is to be drawn. `orders` has, for each of `models`, its order or why there can be none.

    `paths` are where the pictures go, `sheet` where the sheet does; all absolute.
    """

    models: tuple[str, ...]
    orders: tuple[Order | PixartError, ...]
    paths: tuple[Path, ...]
    sheet: Path
    prompt: str
    seed: int
    res: str


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One model's picture, with what it took: `peak` memory, and `parameters` by network."""

    model: str
    result: Result
    small: Image
    peak: Peak
    parameters: dict[str, int]


@dataclass(frozen=True)
class Failed:
    """A model that drew nothing, and why."""

    model: str
    error: PixartError


Outcome = Drawn | Failed


def plan_comparison(settings: Settings, prompt: str, models: Sequence[str], *, cwd: Path) -> Comparison:
    """What `settings` ask for of each of `models`: the same prompt, seed and size. Loads no weights.

    Raises:
        PixartError: for every mistake in the request; "usage" for no model, or one that is named twice;
            "output-exists" before time is spent.
    """
    values = settings.values
    if len(set(models)) < len(models) or not models:
        what = "a model is named twice" if models else "no model is named"
        raise PixartError("usage", what, "Name each once: --models sigma-1024,sdxl,cascade.")
    seed = fresh_seed() if values["seed"] is None else values["seed"]
    res = values["res"] or RES
    same = {"seed": seed, "count": 1, "res": res, "output": None, "force": True, "scheduler": None}
    orders = [_order(settings, {**same, "model": model}, prompt, cwd) for model in models]
    sheet = _sheet_path(values["output"], orders, prompt, seed, cwd)
    stem = sheet.stem.removesuffix(_ENDING)
    names = [slug(os.path.basename(os.path.abspath(model))) for model in models]
    names = [f"{name}-{i + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    sheet, *paths = distinct([sheet, *(sheet.with_name(f"{stem}-{name}.png") for name in names)])
    refuse_existing([*paths, sheet], force=values["force"])
    return Comparison(
        models=tuple(models), orders=tuple(orders), paths=tuple(paths), sheet=sheet, prompt=prompt, seed=seed,
        res=res,
    )  # fmt: skip


def _order(settings: Settings, changes: dict[str, object], prompt: str, cwd: Path) -> Order | PixartError:
    """The order of one model; a mistake in the request is everybody's, weights that fail only its own.

    What only PixArt's networks can do is not asked of others, but for `--refine direct`, which was typed.
    """
    try:
        if spec_of(str(changes["model"])).is_peer:
            changes = {**changes, **LEFT_OUT}
            if settings.values["refine"] == DIRECT and settings.origins["refine"] != "typed":
                changes["refine"] = AUTO
        own = dataclasses.replace(settings, values={**settings.values, **changes})
        return plan_jobs(own, [prompt], cwd=cwd)
    except PixartError as error:
        if ERRORS[error.code].exit_code not in (3, 4):
            raise
        return error


def _sheet_path(
    output: str | None, orders: Sequence[Order | PixartError], prompt: str, seed: int, cwd: Path
) -> Path:
    if output == STDOUT:
        what = "a sheet and its pictures do not fit into standard output"
        raise PixartError("output-invalid", what, "Name a file or folder with --output.")
    jobs = next((order.jobs for order in orders if isinstance(order, Order)), None)
    if jobs is None:  # nothing will be drawn
        return cwd / f"{slug(prompt)}-{seed}{_ENDING}.png"
    folder = output is None or output.endswith("/") or os.path.isdir(cwd / output)
    return output_paths(os.path.join(output or "", NAME) if folder else output, jobs, cwd=cwd)[0]


def draw(
    comparison: Comparison,
    renderer_of: Callable[[Order], Renderer],
    *,
    force: bool,
    metadata: Level,
    on_progress: ProgressCallback,
) -> Iterator[Outcome]:
    """Draw and write one picture after the other; a model that fails is passed over.

    Raises:
        PixartError: "disk" or "output-exists": what holds for one picture holds for all.
    """
    for index, (model, order) in enumerate(zip(comparison.models, comparison.orders, strict=True)):
        if isinstance(order, PixartError):
            yield Failed(model, order)
            continue
        own = dataclasses.replace(order, paths=(comparison.paths[index],))
        told = partial(_tell, on_progress, index)
        try:
            yield _draw(model, own, renderer_of, force=force, metadata=metadata, on_progress=told)
        except PixartError as error:
            if ERRORS[error.code].exit_code not in (3, 4, 5, 6):
                raise
            let_go_of_what_failed(error)
            yield Failed(model, error)


def _tell(on_progress: ProgressCallback, index: int, event: ProgressEvent) -> None:
    on_progress(dataclasses.replace(event, index=index))


def _draw(
    model: str,
    order: Order,
    renderer_of: Callable[[Order], Renderer],
    *,
    force: bool,
    metadata: Level,
    on_progress: ProgressCallback,
) -> Drawn:
    with peak_memory(order.plan.device) as peak:
        renderer = renderer_of(order)
        try:
            (result,) = generate(order, renderer, force=force, metadata=metadata, on_progress=on_progress)
        finally:
            close = getattr(renderer, "close", None)
            if close is not None:
                close()
    small = thumbnail(result.rendering.pixels)
    return Drawn(model=model, result=result, small=small, peak=peak, parameters=parameters_of(model))


def write_sheet(
    comparison: Comparison,
    outcomes: Sequence[Outcome],
    words: Callable[[Outcome], tuple[str, ...]],
    *,
    force: bool,
    metadata: Level,
) -> None:
    """Write the contact sheet of `outcomes`, with `words` under each.

    Raises:
        PixartError: as `publish`.
    """
    cells = [
        Cell(each.model, words(each), each.small if isinstance(each, Drawn) else None) for each in outcomes
    ]
    heading = (comparison.prompt, f"seed {comparison.seed}, {comparison.res}")
    texts = [] if metadata == "none" else [("Software", SOFTWARE)]
    if metadata == "full":
        texts = [("Description", comparison.prompt), *texts]
    publish(encode(contact_sheet(heading, cells), texts, dpi=None), comparison.sheet, force=force)
