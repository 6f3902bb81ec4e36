"""What all results say together: a Markdown table and a figure, a panel a walk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.weak_to_strong_stages.studio import Studio
from benchmarks.weak_to_strong_stages.walks import ARMS, WALKS, Arm

BEFORE = "before"
_INKS = {True: "#1f5aa6", False: "#c8501e"}


def write_report(studio: Studio) -> None:
    """Write ``table.md`` and, where matplotlib is installed, ``figure.png`` of what is known so far."""
    (studio.out / "table.md").write_text("\n".join(table(studio)) + "\n", encoding="utf-8")
    try:
        draw_figure(studio, studio.out / "figure.png")
    except ImportError:
        print("no figure without matplotlib: pip install 'pixart-cli[train]'", flush=True)


def table(studio: Studio) -> list[str]:
    """Lines of a Markdown table: a row an arm, held-out loss and prompt-following at each step."""
    steps = studio.steps
    heads = [f"loss, {step} steps" for step in steps] + [f"found, {step} steps" for step in steps]
    lines = [f"| walk | start | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for walk, title in WALKS.items():
        for arm in (arm for arm in ARMS if arm.walk == walk):
            known = [studio.result(studio.measured(arm, step)) for step in steps]
            cells = [_loss_words(found) for found in known] + [_found_words(found) for found in known]
            lines.append(f"| {title} | {arm.label} | {' | '.join(cells)} |")
    before = studio.result(BEFORE)
    if before is not None:
        words = f"Before any walk, at 256 px: loss {_loss_words(before)}"
        if "prompts" in before:
            ends = before["prompts"]
            words += f", found {_found_words(before)}; drawn pictures {ends['ceiling']:.0%}"
            words += f", wrong pictures {ends['floor']:.0%}"
        lines += ["", words + "."]
    return lines


def _loss_words(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['loss']['mean']:.4f} ± {found['loss']['error']:.4f}"


def _found_words(found: dict[str, Any] | None) -> str:
    if found is None or "prompts" not in found:
        return "–"
    told = found["prompts"]
    return f"{told['found'] / told['asked']:.0%} ({told['low']:.0%} to {told['high']:.0%})"


def draw_figure(studio: Studio, path: Path) -> None:
    """Two rows of panels, a column a walk: held-out loss above, attributes found below, against steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    rows = figure.subplots(2, len(WALKS), sharex=True, squeeze=False)
    before = studio.result(BEFORE)
    for column, (walk, title) in enumerate(WALKS.items()):
        loss, share = rows[0][column], rows[1][column]
        loss.set_title(title)
        for arm in (arm for arm in ARMS if arm.walk == walk):
            _curve(loss, studio, arm, _loss_point)
            _curve(share, studio, arm, _found_point)
        if before is not None and walk != "size":
            _line(loss, before["loss"]["mean"], "before")
        if before is not None and "prompts" in before:
            told = before["prompts"]
            _line(share, 100 * told["found"] / told["asked"], "before")
        _finish(loss, studio.steps, "held-out loss (lower is better)")
        _finish(share, studio.steps, "attributes found, %")
        share.set_ylim(0, 100)
        share.set_xlabel("steps")
    FigureCanvasAgg(figure).print_png(path)


def _curve(axes: Any, studio: Studio, arm: Arm, point: Any) -> None:
    known = [(step, studio.result(studio.measured(arm, step))) for step in studio.steps]
    points = [(step, *point(found)) for step, found in known if found is not None and point(found)]
    if not points:
        return
    steps, values, below, above = zip(*points, strict=True)
    axes.errorbar(
        steps, values, yerr=(below, above), label=arm.label, color=_INKS[arm.with_method], marker="o",
        linestyle="-" if arm.with_method else "--", capsize=3, linewidth=2,
    )  # fmt: skip


def _loss_point(found: dict[str, Any]) -> tuple[float, float, float]:
    """The loss, and 1.96 standard errors below and above."""
    loss = found["loss"]
    return loss["mean"], 1.96 * loss["error"], 1.96 * loss["error"]


def _found_point(found: dict[str, Any]) -> tuple[float, float, float] | None:
    told = found.get("prompts")
    if told is None:
        return None
    rate = told["found"] / told["asked"]
    return 100 * rate, 100 * (rate - told["low"]), 100 * (told["high"] - rate)


def _line(axes: Any, value: float, label: str) -> None:
    axes.axhline(value, color="#777777", linewidth=1, linestyle=":", label=label)


def _finish(axes: Any, steps: Sequence[int], label: str) -> None:
    least = min((step for step in steps if step), default=1)
    axes.set_xscale("symlog", linthresh=least, linscale=0.6)
    axes.set_xticks(list(steps), [str(step) for step in steps])
    axes.minorticks_off()
    axes.set_ylabel(label)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
