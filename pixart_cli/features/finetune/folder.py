"""The folder of a run: one pixart at a time trains there, and what an earlier run left can be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.unfinished import sweep
from pixart_cli.features.finetune.build import CHECKPOINTS, MARKER
from pixart_cli.features.finetune.exports import results_in
from pixart_cli.features.finetune.metrics import FILE
from pixart_cli.features.finetune.plan import TrainPlan
from pixart_cli.features.finetune.previews import SAMPLES

SKIPPED: Final = "skipped.jsonl"
LOCK: Final = ".pixart-train.lock"


def start_over(plan: TrainPlan) -> None:
    """Remove what an earlier run left in the folder of this one, and nothing else: checkpoints, metrics,
    samples, results.

    Raises:
        PixartError: "disk".
    """
    folder = Path(plan.config.out)
    own = [folder / FILE, folder / SKIPPED, *(folder / SAMPLES).glob("step-*.png")]
    made = [path for path in (folder / CHECKPOINTS).glob("step-*") if (path / MARKER).is_file()]
    try:
        for path in own:
            path.unlink(missing_ok=True)
        for path in (*made, *results_in(plan)):
            shutil.rmtree(path)
    except OSError as error:
        what = f"cannot remove {error.filename}: {error.strerror or error}"
        raise PixartError("disk", what, "Choose another folder with out.") from error


@contextmanager
def alone_in(plan: TrainPlan) -> Iterator[None]:
    """Within, no other pixart trains in the folder of `plan`; the first of several processes sees to it."""
    from filelock import FileLock, Timeout

    if not plan.here.leads:
        yield
        return
    folder = Path(plan.config.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        hint = "Wait for it, or choose another out."
        raise PixartError("output-invalid", f"another pixart trains in {folder}", hint) from None
    except OSError as error:
        what = f"cannot write {folder}: {error.strerror or error}"
        raise PixartError("disk", what, "Choose another folder with out.") from error
    try:
        for place in (folder, folder / CHECKPOINTS):  # what a killed run was writing
            sweep(place)
        yield
    finally:
        lock.release()
