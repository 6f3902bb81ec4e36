"""What every process but the first does: denoise along with it, picture by picture, until dismissed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pixart_cli.diffusion.cascade import Cascade
from pixart_cli.diffusion.crew import Crew
from pixart_cli.diffusion.fallback import exact
from pixart_cli.diffusion.memory import cast
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.task import Company, Joined, Task
from pixart_cli.diffusion.weights import locate


class Helper(NetworkRenderer):
    """A renderer that denoises along with the process that leads, which alone keeps the result."""

    def assist(self, task: Task, join: Callable[[], Joined]) -> None:
        """Do this process's share of `task`; `join`, and what is raised, as in `Cascade.assist`."""
        parts = self._parts()
        parts.adapt(self.changes_of(task.request))
        nobody = Company(None, task.model, self.plan, ())
        precise = cast(parts.transformer, getattr(torch, task.dtype))
        with exact(self.plan), torch.inference_mode(), precise:
            Cascade(parts, self.plan, self.installed.spec, (), nobody).assist(task, join)


def assist(crew: Crew) -> int:
    """Follow the orders of the process that leads `crew`; the exit code that it ends with.

    What fails here is told to the leader, who decides: another order, with less memory, or the end.

    Raises:
        PixartError: "process-lost" when the leader is gone without a word.
    """
    helper: Helper | None = None
    try:
        while "end" not in (order := crew.receive()):
            try:
                with crew.attempt():
                    helper = _follow(crew, order, helper)
            except Exception:  # noqa: BLE001, S112 -- told to all already, by `attempt`
                continue
        return int(order["end"])
    finally:
        crew.leave()


def _follow(crew: Crew, order: dict[str, Any], helper: Helper | None) -> Helper:
    """Take part in the task that `order` spells out; gives the helper that did, for the next one."""
    task = Task.from_dict(order)
    plan = dataclasses.replace(task.plan, device=crew.own_device(task.plan.device))
    files = {sha256: Path(path) for sha256, path in task.files.items()}
    if helper is None or (helper.plan, helper.installed.name, helper.files) != (plan, task.model, files):
        if helper is not None:
            helper.close()
        helper = Helper(plan, locate(task.model), files=files)
    helper.assist(task, lambda: task.joined(crew, plan.device))
    return helper
