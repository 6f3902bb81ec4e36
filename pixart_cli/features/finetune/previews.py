"""Sample pictures of a run, drawn every few steps and kept beside its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.png import encode
from pixart_cli.core.publish import publish
from pixart_cli.diffusion.part_files import read_json
from pixart_cli.features.finetune.plan import TrainPlan
from pixart_cli.features.finetune.prepare import Cache, OnEvent, TrainEvent

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pixart_cli.diffusion.training.trainer import Trainer

SAMPLES: Final = "samples"


class Previews:
    """Draws the prompts of one plan; pictures are ``samples/step-STEP-PROMPT.png`` of its folder."""

    def __init__(self, plan: TrainPlan, accelerator: Accelerator, cache: Cache, on_event: OnEvent) -> None:
        self._plan, self._accelerator, self._cache, self._on_event = plan, accelerator, cache, on_event

    def draw(self, trainer: Trainer) -> None:
        """Draw the average, or the weights as they are, by the first process; the others wait.

        Raises:
            PixartError: "picture-invalid" when the network draws nothing, "disk".
        """
        if self._accelerator.is_main_process:
            prompts = self._plan.config.sample_prompts
            with trainer.average.in_place():
                for index, picture in enumerate(self._pictures(trainer)):
                    name = f"step-{trainer.step:08d}-{index}.png"
                    place = Path(self._plan.config.out) / SAMPLES / name
                    publish(encode(picture, [], dpi=None), place, force=True)
                    told = TrainEvent(stage="draw", done=index + 1, total=len(prompts), text=prompts[index])
                    self._on_event(told)
        self._accelerator.wait_for_everyone()

    def _pictures(self, trainer: Trainer) -> Any:
        from pixart_cli.diffusion.training.preview import Preview

        plan, config = self._plan, self._plan.config
        schedule = read_json(plan.installed.parts["scheduler"] / "scheduler_config.json")
        half = plan.precision == "bfloat16"
        preview = Preview(plan.spec, schedule, plan.native, self._accelerator.device, half=half)
        vae, empty = self._cache.load_vae(), self._cache.embeds("")
        for index, prompt in enumerate(config.sample_prompts):
            embeds = (empty, self._cache.embeds(prompt))
            yield preview.draw(trainer.transformer, vae, embeds, config.sample_seed + index)
