"""What all results say together: a Markdown table and a figure, a panel a walk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.weak_to_strong_stages.studio import Studio, named
from benchmarks.weak_to_strong_stages.walks import ARMS, WALKS, Arm
from pixart_cli.features.evaluate.folder import RunFolder

BEFORE = "before"
_SHOWN = 4  # prompts on the strip
_INKS = {True: "#1f5aa6", False: "#c8501e"}


def write_report(studio: Studio) -> None:
    """Write ``table.md`` and, where matplotlib is installed, the figures, of what is known so far."""
    (studio.out / "table.md").write_text("\n".join(table(studio)) + "\n", encoding="utf-8")
    try:
        draw_figure(studio, studio.out / "figure.png")
        draw_strip(studio, studio.out / "strip.png")
    except ImportError:
        print("no figure without matplotlib: pip install 'pixart-cli[train]'", flush=True)


def table(studio: Studio) -> list[str]:
    """Lines of a Markdown table: a row an arm, held-out loss and prompt-following at each step."""
    steps = studio.steps
    heads = [f"loss, {step} steps" for step in steps] + [f"found, {step} steps" for step in steps]
    lines = [f"| walk | start | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for walk, title in WALKS.items():
        for arm in (arm for arm in ARMS if arm.walk == walk):
            cells = [_loss_words(studio.known("loss", arm, step)) for step in steps]
            cells += [_found_words(studio.known("prompts", arm, step)) for step in steps]
            lines.append(f"| {title} | {arm.label} | {' | '.join(cells)} |")
    lines += compared(studio)
    loss, told = (studio.result(f"{BEFORE}-{kind}") for kind in ("loss", "prompts"))
    lines += ["", f"Before any walk, at 256 px: loss {_loss_words(loss)}, found {_found_words(told)}."]
    if told is not None:
        lines += [f"Drawn pictures: {told['ceiling']:.0%}, wrong pictures: {told['floor']:.0%}."]
    return lines


def compared(studio: Studio) -> list[str]:
    """Lines on each walk with two arms: how far apart their losses are, picture by picture."""
    lines = []
    for walk, title in WALKS.items():
        arms = sorted((arm for arm in ARMS if arm.walk == walk), key=lambda arm: not arm.with_method)
        for step in studio.steps if len(arms) == 2 else ():
            pair = [studio.known("loss", arm, step) for arm in arms]
            if pair[0] and pair[1]:
                zipped = zip(pair[0]["pictures"], pair[1]["pictures"], strict=True)
                apart = [other - own for own, other in zipped]
                error = stdev(apart) / len(apart) ** 0.5
                better = sum(each > 0 for each in apart)
                lines.append(
                    f"{title}, {step} steps: {arms[1].label} minus {arms[0].label}: {fmean(apart):+.4f} ±"
                    f" {error:.4f}, {better} of {len(apart)} pictures above 0."
                )
    return ["", *(f"* {line}" for line in lines)] if lines else []


def _loss_words(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['mean']:.4f} ± {found['error']:.4f}"


def _found_words(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return f"{found['found'] / found['asked']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def draw_figure(studio: Studio, path: Path) -> None:
    """Two rows of panels, a column a walk: held-out loss above, attributes found below, against steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    rows = figure.subplots(2, len(WALKS), sharex=True, squeeze=False)
    before = {kind: studio.result(f"{BEFORE}-{kind}") for kind in ("loss", "prompts")}
    for column, (walk, title) in enumerate(WALKS.items()):
        loss, share = rows[0][column], rows[1][column]
        loss.set_title(title)
        for arm in (arm for arm in ARMS if arm.walk == walk):
            _curve(loss, studio, arm, "loss")
            _curve(share, studio, arm, "prompts")
        if before["loss"] and walk == "kv":  # the other walks' latents are others: so are their losses
            _line(loss, _point(before["loss"])[0], "before")
        if before["prompts"]:
            _line(share, _point(before["prompts"])[0], "before")
        loss.set_yscale("log")
        share.set_ylim(0, 100)
        _finish(loss, studio.steps, "held-out loss (lower is better)")
        _finish(share, studio.steps, "attributes found, %")
        share.set_xlabel("steps")
    FigureCanvasAgg(figure).print_png(path)


def draw_strip(studio: Studio, path: Path) -> None:
    """The first prompts' pictures, as the paper shows its own: a row for each model that drew them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    models = [("before", f"{BEFORE}-prompts")]
    models += [
        (f"{arm.label}\n{step} steps", named("prompts", arm, step)) for arm in ARMS for step in studio.steps
    ]
    rows = [(label, _pictures(studio, name)) for label, name in models]
    rows = [(label, found) for label, found in rows if found]
    if not rows:
        return
    figure = Figure(figsize=(1.7 * _SHOWN + 1.6, 1.5 * len(rows)), dpi=80, layout="constrained")
    panels = figure.subplots(len(rows), _SHOWN, squeeze=False)
    for line, (label, found) in zip(panels, rows, strict=True):
        line[0].set_ylabel(label, fontsize=9, rotation=0, ha="right", va="center")
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, place in zip(line, found, strict=False):
            with Image.open(place) as picture:
                picture.thumbnail((160, 160))
                axes.imshow(picture.convert("RGB"))
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    Image.open(data).convert("RGB").quantize(256).save(path, optimize=True)


def _pictures(studio: Studio, name: str) -> list[Path]:
    folder = RunFolder(studio.out / "pictures" / name)
    return [path for path in map(folder.picture_path, range(_SHOWN)) if path.is_file()]


def _curve(axes: Any, studio: Studio, arm: Arm, kind: str) -> None:
    known = [(step, studio.known(kind, arm, step)) for step in studio.steps]
    points = [(step, *_point(found)) for step, found in known if found is not None]
    if not points:
        return
    steps, values, below, above = zip(*points, strict=True)
    axes.errorbar(
        steps, values, yerr=(below, above), label=arm.label, color=_INKS[arm.with_method], marker="o",
        linestyle="-" if arm.with_method else "--", capsize=3, linewidth=2,
    )  # fmt: skip


def _point(found: dict[str, Any]) -> tuple[float, float, float]:
    """A loss, or a share in per cent, and how far its 95 % interval goes below and above it."""
    if "mean" in found:
        return found["mean"], 1.96 * found["error"], 1.96 * found["error"]
    rate = found["found"] / found["asked"]
    return 100 * rate, 100 * (rate - found["low"]), 100 * (found["high"] - rate)


def _line(axes: Any, value: float, label: str) -> None:
    axes.axhline(value, color="#777777", linewidth=1, linestyle=":", label=label)


def _finish(axes: Any, steps: Sequence[int], label: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    least = min((step for step in steps if step), default=1)
    if not axes.containers:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#777777")
    axes.set_xscale("symlog", linthresh=least, linscale=0.6)
    axes.set_xticks(list(steps), [str(step) for step in steps])
    axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
