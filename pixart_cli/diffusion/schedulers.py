"""The sampling rules by the names people type, built from a model's own noise schedule."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pixart_cli.core.guidance import made_steps
from pixart_cli.diffusion.quiet import silence


@dataclass(frozen=True)
class Rule:
    """A diffusers class, what it is set to, and whether its steps draw noise."""

    module: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    stochastic: bool = False


# "trailing" spacing (Lin et al. 2023, arXiv 2305.08891, table 2) starts these at pure noise for any number
# of steps; with "linspace" a single Euler step would start at timestep 0, where nothing is left to do.
_TRAILING: Final = {"timestep_spacing": "trailing"}
RULES: Final[Mapping[str, Rule]] = {
    "dpm++": Rule("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler",
                  {"algorithm_type": "dpmsolver++"}),
    "dpm++-sde": Rule("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler",
                      {"algorithm_type": "sde-dpmsolver++"}, stochastic=True),
    "euler": Rule("scheduling_euler_discrete", "EulerDiscreteScheduler", _TRAILING),
    "euler-a": Rule("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", _TRAILING,
                    stochastic=True),
    "ddim": Rule("scheduling_ddim", "DDIMScheduler", {**_TRAILING, "clip_sample": False}),
    "unipc": Rule("scheduling_unipc_multistep", "UniPCMultistepScheduler"),
    "lcm": Rule("scheduling_lcm", "LCMScheduler", {"clip_sample": False}, stochastic=True),
}  # fmt: skip
_LCM_STEPS: Final = 50


def build(
    name: str,
    config: Mapping[str, Any],
    steps: int,
    *,
    device: str = "cpu",
    timesteps: Sequence[int] = (),
    spacing: str | None = None,
) -> Any:
    """The scheduler `name` over the noise schedule of `config`, its timesteps set.

    Args:
        config: the model's scheduler_config.json.
        timesteps: where a few-step model must start; as many as `steps`, else they are not used.
        spacing: how timesteps are spread, where that is not to be the rule's.
    """
    rule = RULES[name]
    cls = getattr(importlib.import_module(f"diffusers.schedulers.{rule.module}"), rule.name)
    known = inspect.signature(cls.__init__).parameters
    # The transformer's learned sigma is dropped before the step, so no rule may look for it.
    settings = {**config, "variance_type": None, **rule.settings}
    if spacing is not None:
        settings["timestep_spacing"] = spacing
    if steps >= settings.get("num_train_timesteps", 1000):
        # "linspace" would name one timestep twice, and a multistep rule divide by the nothing between them.
        settings |= _TRAILING
    scheduler = cls(**{key: value for key, value in settings.items() if key in known})
    if timesteps and len(timesteps) == steps and name == "lcm":
        with silence():  # it advises against beginning elsewhere than at noise alone
            scheduler.set_timesteps(timesteps=list(timesteps), device=device)
    elif name == "lcm":
        scheduler.set_timesteps(steps, device=device, original_inference_steps=max(_LCM_STEPS, steps))
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler


@dataclass(frozen=True)
class Tail:
    """The end of a schedule: `scheduler` set to begin at the first of `timesteps`, `skipped` left out."""

    scheduler: Any
    timesteps: Any
    stochastic: bool
    skipped: int = 0


def build_rest(
    name: str, config: Mapping[str, Any], steps: int, strength: float, *, device: str = "cpu"
) -> Tail:
    """What is left of a schedule of `steps` for a picture to start from: its last `strength` x `steps`, one
    at least. 1 is the whole, and starts at what is nearly noise.

    "lcm" makes all of its `steps`, within the first `strength` of the timesteps that it was distilled at.
    """
    stochastic = RULES[name].stochastic
    scheduler = build(name, config, steps, device=device)
    if name == "lcm":
        most = scheduler.config.num_train_timesteps
        original = min(most, max(_LCM_STEPS, math.ceil(steps / strength)))
        few = max(1, min(steps, int(original * strength)))
        scheduler.set_timesteps(few, device=device, original_inference_steps=original, strength=strength)
        return Tail(scheduler, scheduler.timesteps, stochastic)
    first = len(scheduler.timesteps) - made_steps(steps, strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return Tail(scheduler, scheduler.timesteps[first:], stochastic, skipped=first)


def build_tail(
    name: str, config: Mapping[str, Any], steps: int, strength: float, *, device: str = "cpu"
) -> Tail:
    """The last `steps` steps of the scheduler `name`, which begin at noise of about σ/α = `strength`.

    The whole schedule is cut into as many steps as make the last ones reach from there to the end, so that
    every rule walks its own spacing. Noise is a ratio and no share of the steps because models differ in
    their schedules, and one ratio leaves the same of a picture in all of them.
    """
    kept = build(name, config, 1).alphas_cumprod
    start = int((((1 - kept) / kept).sqrt() - strength).abs().argmin())
    stochastic = RULES[name].stochastic
    if name == "lcm":
        few = [max(1, round(start * (steps - i) / steps)) for i in range(steps)]
        scheduler = build(name, config, steps, device=device, timesteps=few)
        return Tail(scheduler, scheduler.timesteps, stochastic)
    whole = max(steps, round(steps * (len(kept) - 1) / max(1, start)))
    scheduler = build(name, config, whole, device=device)
    first = len(scheduler.timesteps) - steps
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return Tail(scheduler, scheduler.timesteps[first:], stochastic)
