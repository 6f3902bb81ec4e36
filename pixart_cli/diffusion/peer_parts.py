"""What the pipelines of `diffusion/peers.py` share: networks that come when they are asked for, and noise."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any

import torch

from pixart_cli.diffusion.configuration import check_scheduler
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.memory import return_unused
from pixart_cli.diffusion.part_files import read_json
from pixart_cli.diffusion.peer_networks import load_clip_tokenizer, load_peer
from pixart_cli.diffusion.weights import Installed

Report = Callable[[str, int, int], None]


class Parts:
    """The parts of one model, loaded when first asked for."""

    def __init__(self, installed: Installed, plan: MemoryPlan) -> None:
        self.installed = installed
        self.plan = plan
        self._there: dict[str, Any] = {}

    def network(self, name: str) -> Any:
        """The network `name`: on the device if all stay there, else in main memory."""
        if name not in self._there:
            plan = self.plan
            self._there[name] = load_peer(
                name, self.installed.parts[name], self.installed.spec.family,
                dtype=self._dtype(name), device=plan.device if plan.offload == "full" else "cpu",
            )  # fmt: skip
        return self._there[name]

    def networks(self, report: Report) -> dict[str, Any]:
        """All networks by name."""
        names = self.installed.networks
        for step, name in enumerate(names, start=1):
            if name not in self._there:
                self.network(name)
                report("load", step, len(names))
        return {name: self._there[name] for name in names}

    def tokenizer(self, name: str = "tokenizer") -> Any:
        """The tokenizer `name`."""
        if name not in self._there:
            self._there[name] = load_clip_tokenizer(self.installed.parts[name])
        return self._there[name]

    def schedule(self, name: str = "scheduler") -> dict[str, Any]:
        """What the scheduler `name` is set to.

        Raises:
            PixartError: "weights-invalid" for what no schedule can be made of.
        """
        path = self.installed.parts[name] / "scheduler_config.json"
        config = read_json(path)
        check_scheduler(path, config)
        return config

    def free(self) -> None:
        """Give back all memory."""
        self._there.clear()
        gc.collect()
        return_unused(self.plan.device)

    def _dtype(self, name: str) -> torch.dtype:
        """The plan's, but float16 overflows in SDXL's VAE (diffusers' `force_upcast`): that is float32."""
        last = name in ("vae", "vqgan")
        overflows = name == "vae" and self.plan.dtype == "float16"
        plan = self.plan.for_vae() if last else self.plan
        dtype: torch.dtype = torch.float32 if overflows else getattr(torch, plan.dtype)
        return dtype


def in_float32(scheduler: Any) -> Any:
    """`scheduler`, whose steps compute, and draw their noise, in float32 whatever the latents are in.

    So one seed draws one noise, in every precision and on every device.
    """
    own = scheduler.step

    @functools.wraps(own)
    def step(model_output: Any, timestep: Any, sample: Any, *args: Any, **options: Any) -> Any:
        whole = options.pop("return_dict", True)
        result = own(model_output.float(), timestep, sample.float(), *args, **options, return_dict=True)
        result.prev_sample = result.prev_sample.to(sample.dtype)
        return result if whole else (result.prev_sample,)

    scheduler.step = step
    return scheduler


def told(report: Report, done: int, total: int) -> Callable[..., dict[str, Any]]:
    """A pipeline's `callback_on_step_end`: steps after the first `done`, of `total`."""

    def tell(_pipeline: Any, step: int, _timestep: Any, _values: dict[str, Any]) -> dict[str, Any]:
        report("denoise", done + step + 1, total)
        return {}

    return tell


def computing_on(device: str, pipeline: Any) -> Any:
    """`pipeline` without bars, computing on `device`.

    By itself it takes for its device what its first network happens to be on: with networks that come and
    go it has to be told.
    """
    pipeline.set_progress_bar_config(disable=True)
    kind = type(pipeline)
    pipeline.__class__ = type(kind.__name__, (kind,), {"_execution_device": torch.device(device)})
    return pipeline
