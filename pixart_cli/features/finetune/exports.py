"""Where a run's results are: the one at its end, and those after the steps that `export_at` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixart_cli.core.publish import refuse_folder
from pixart_cli.features.finetune.places import RESULT, result_path
from pixart_cli.features.finetune.plan import TrainPlan
from pixart_cli.features.finetune.result import RECORD, record_of, write_adapter, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from peft import LoraConfig

    from pixart_cli.diffusion.training.trainer import Trainer


def results_in(plan: TrainPlan) -> list[Path]:
    """Every result that a run left in the folder of this one."""
    last = result_path(plan.config)
    found = sorted(path for path in last.parent.glob(f"{last.name}*") if RESULT.fullmatch(path.name))
    return [path for path in found if (path / RECORD).is_file()]


def refuse_results(plan: TrainPlan) -> None:
    """Raise PixartError "output-invalid" where something else stands in the place of a result."""
    for step in (None, *plan.config.export_at):
        refuse_folder(result_path(plan.config, step), marker=RECORD, force=True)


class Exports:
    """Writes the results of `plan`, begun with the weights `revision`; `lora` where that is what it makes."""

    def __init__(self, plan: TrainPlan, lora: LoraConfig | None, revision: str) -> None:
        self._plan, self._lora, self._revision = plan, lora, revision

    def is_due(self, step: int) -> bool:
        """Whether there is a result of its own after `step` steps."""
        return step in self._plan.config.export_at

    def write(self, trainer: Trainer, step: int | None = None) -> None:
        """Write the average, or the weights as they are, to the place of the result or of `step`'s.

        Raises:
            PixartError: "disk", "output-invalid", or "config-invalid" when `export_dtype` is too small.
        """
        out, record = (
            result_path(self._plan.config, step),
            record_of(self._plan, self._revision, trainer.step),
        )
        with trainer.average.in_place():
            if self._lora is None:
                write_model(out, self._plan, trainer.transformer, record)
            else:
                write_adapter(out, self._plan, trainer.transformer, self._lora, record)
