"""What a run leaves to look at: a line of JSON every few steps, and plots of them at the end."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.publish import publish

FILE: Final = "metrics.jsonl"
_SMOOTH: Final = 50
_SHOWN: Final = 12


class Metrics:
    """The file ``metrics.jsonl`` of a run; lines after `step`, of a run that was cut off, are taken away."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / FILE
        rows = read_metrics(self.path)
        if any(row["step"] > step for row in rows):
            kept = [row for row in rows if row["step"] <= step]
            publish("".join(json.dumps(row) + "\n" for row in kept).encode(), self.path, force=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            PixartError: "disk".
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            what = f"cannot write {self.path}: {error.strerror or error}"
            raise PixartError("disk", what, "Free some space there; then run it again.") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of the file, less what was cut off or is none of ours."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def can_plot() -> bool:
    """Whether the library that plots is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def draw_plots(folder: Path, samples: Path) -> list[Path]:
    """``loss.png``, ``learning-rate.png`` and, where there are samples, ``samples.png`` in `folder`.

    Raises:
        PixartError: "disk".
    """
    rows = read_metrics(folder / FILE)
    made = []
    if rows:
        steps = [row["step"] for row in rows]
        losses = [row["loss"] for row in rows]
        for name, title, lines in (
            ("loss", "loss", {"loss": losses, f"mean of {_SMOOTH} lines": _smoothed(losses)}),
            ("learning-rate", "learning rate", {"learning rate": [row["learning_rate"] for row in rows]}),
        ):
            made.append(folder / f"{name}.png")
            publish(_plot(title, steps, lines), made[-1], force=True)
    pictures = sorted(samples.glob("step-*.png")) if samples.is_dir() else []
    if pictures:
        made.append(folder / "samples.png")
        publish(_sheet(pictures), made[-1], force=True)
    return made


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, as many as there are up to 50."""
    spans = (values[max(0, i + 1 - _SMOOTH) : i + 1] for i in range(len(values)))
    return [sum(span) / len(span) for span in spans]


def _plot(title: str, steps: Sequence[int], lines: Mapping[str, Sequence[float]]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for index, (name, values) in enumerate(lines.items()):
        faint = index == 0 and len(lines) > 1
        axes.plot(steps, values, label=name, alpha=0.35 if faint else 1.0, linewidth=1 if faint else 2)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.grid(visible=True, alpha=0.3)
    if len(lines) > 1:
        axes.legend()
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


def _sheet(pictures: Sequence[Path], cell: int = 256) -> bytes:
    """The pictures of up to twelve steps, evenly chosen, first and last among them: a column a step."""
    from PIL import Image, ImageDraw

    steps: dict[str, list[Path]] = {}
    for path in pictures:
        steps.setdefault(path.stem.split("-")[1], []).append(path)
    names = sorted(steps)
    if len(names) > _SHOWN:
        names = [names[round(i * (len(names) - 1) / (_SHOWN - 1))] for i in range(_SHOWN)]
    rows = max(len(steps[name]) for name in names)
    sheet = Image.new("RGB", (len(names) * (cell + 8) + 8, rows * (cell + 8) + 32), (250, 250, 250))
    words = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        x = 8 + column * (cell + 8)
        words.text((x, 8), f"step {int(name)}", fill=(20, 20, 20))
        for row, path in enumerate(steps[name]):
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(small, (x, 28 + row * (cell + 8)))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()
