"""The machine, and the plan it leads to: device, precision and memory, in words a person can read.

No torch here: whoever has a `Machine`, probed or made up, has its plan at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.core.errors import PixartError
from pixart_cli.core.refine import DIRECT, OFF, base_size, plan_passes
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.estimate import (
    NOTHING,
    PEER_RUNGS,
    RUNGS,
    STREAMED,
    TOGETHER,
    WHOLE,
    Estimate,
    Facts,
    Rung,
    delivered_bytes,
    estimate,
    pictures_together,
)
from pixart_cli.diffusion.machine import Accelerator, Machine, probe

__all__ = ["NOTHING", "RUNGS", "Accelerator", "Facts", "Machine", "MemoryPlan", "plan", "probe"]

_STREAMS: Final = "the text encoder's weights stay on the disk and pass through the device block by block"
_WORDS: Final = {
    RUNGS[0]: "the text encoder comes first and is freed, then all other networks stay on the device",
    RUNGS[1]: f"{_STREAMS}; then all other networks stay on it",
    RUNGS[2]: f"{_STREAMS}; then each other network is on it only while it works",
    RUNGS[3]: f"{_STREAMS}, as do the transformer's; the VAE works on the processor; slow, but it fits",
    PEER_RUNGS[0]: "all networks stay on the device",
    PEER_RUNGS[1]: "each network is on the device only while it works",
    PEER_RUNGS[2]: "the weights pass through the device block by block; slow, but it fits",
}
_GIB: Final = 1 << 30
# Parameters below which float32 costs next to nothing.
_SMALL: Final = 100_000_000


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What was decided and why. `offload` is "full", "offload" or "low"; `reasons` are sentences.

    `encoder` is how the text encoder comes to the device: "whole", "streamed" block by block, or "together"
    with all else, as in models that are not PixArt's; `tried` are the rungs on which memory ran out;
    `compiled` asks for torch's compiler. `together` is how many pictures like this may share a forward, in a
    batch; on a processor one, for more take no less time there. `estimate_bytes` is the expected peak on
    `device`, `seconds_estimate` the time of one picture; both are rules of thumb from parameter and token
    counts, see `diffusion/estimate.py`.
    """

    device: str
    dtype: str
    offload: str
    estimate_bytes: int
    seconds_estimate: float | None
    reasons: tuple[str, ...]
    encoder: str = WHOLE
    tried: tuple[str, ...] = ()
    compiled: bool = False
    together: int = 1

    @property
    def compiles(self) -> bool:
        """Whether blocks go through torch's compiler: they were asked to, and their weights stay."""
        return self.compiled and self.offload != "low"

    @property
    def rung(self) -> str:
        """Both words for how much memory is used, as a picture's record has them."""
        return f"{self.offload}, encoder {self.encoder}"

    @property
    def words(self) -> str:
        """What is done to save memory, for a person."""
        return _WORDS[_ladder(self)[_position(self)]]

    @property
    def streams_encoder(self) -> bool:
        """Whether the text encoder's weights stay on the disk, in their file's precision."""
        return self.encoder == STREAMED or self.offload == "low"

    @property
    def on_cpu(self) -> bool:
        """Whether the networks run on the processor."""
        return self.device == "cpu"

    def for_vae(self) -> MemoryPlan:
        """The VAE's plan: where memory is scarcest it decodes whole on the processor, which is exact."""
        if self.offload != "low":
            return self
        return dataclasses.replace(self, device="cpu", dtype="float32")

    def step_down(self, *, encoding: bool = False) -> MemoryPlan | None:
        """The next plan that needs less memory for what was done, or None after the last.

        Args:
            encoding: memory ran out while texts were encoded; else rungs that spare it alone do not help.
        """
        rest = _ladder(self)[_position(self) + 1 :]
        following = next((rung for rung in rest if encoding or rung[0] != self.offload), None)
        if following is None:
            return None
        offload, encoder = following
        reason = f"Memory ran out, so now {offload}: {_WORDS[following]}."
        return dataclasses.replace(
            self, offload=offload, encoder=encoder, tried=(*self.tried, self.rung),
            reasons=(*self.reasons, reason),
        )  # fmt: skip


def _position(chosen: MemoryPlan) -> int:
    """The rung that `chosen` stands on; the last of those with its `offload` where it mixes two."""
    rung, ladder = (chosen.offload, chosen.encoder), _ladder(chosen)
    return ladder.index(rung) if rung in ladder else [offload for offload, _ in ladder].index(chosen.offload)


def _ladder(chosen: MemoryPlan) -> Sequence[Rung]:
    return PEER_RUNGS if chosen.encoder == TOGETHER else RUNGS


def plan(
    machine: Machine,
    spec: ModelSpec,
    width: int,
    height: int,
    *,
    device: str = "auto",
    memory: str = "auto",
    refine: str = OFF,
    facts: Facts = NOTHING,
) -> MemoryPlan:
    """How `machine` will draw `width` x `height` pixels with `spec`.

    Args:
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        memory: "auto", "full", "offload" or "low".
        refine: as in a request.
        facts: what is known beyond the row: the real sizes of networks, and an init image.

    Raises:
        PixartError: "device-unavailable" naming what there is, "size-invalid" when the finished picture
            alone is more than the machine's memory.
    """
    chosen = _choose_device(machine, device)
    accelerator = next((a for a in machine.accelerators if a.device == chosen), None)
    dtype, dtype_reason = _choose_dtype(machine, accelerator, spec, facts)
    native = choose_bin(width, height, spec.native)
    size = base_size(refine, native, width, height)
    passes = plan_passes(refine, spec, native, width, height)
    _check_delivered(machine, width, height, large=refine == DIRECT or bool(passes))
    expected = estimate(spec, *size, dtype, passes, facts)
    free = machine.free_memory_bytes if accelerator is None else accelerator.free_bytes
    rung, memory_reason = _choose_rung(expected, free, memory)
    peak = expected.peak_bytes[rung]
    together = 1 if accelerator is None else pictures_together(spec, *size, dtype, 0.9 * free - peak)
    where = "the processor" if accelerator is None else accelerator.name
    why = "asked for" if device != "auto" else "the best device here"
    return MemoryPlan(
        device=chosen,
        dtype=dtype,
        offload=rung[0],
        encoder=rung[1],
        estimate_bytes=peak,
        together=together,
        seconds_estimate=_seconds(machine, accelerator, expected, dtype),
        reasons=(f"{chosen} ({where}): {why}.", dtype_reason, memory_reason),
    )


def _check_delivered(machine: Machine, width: int, height: int, *, large: bool) -> None:
    """Refuse what the machine could not even hold when it is done; `large`: drawn at that size, in floats."""
    needed = delivered_bytes(width, height, large=large)
    if needed <= machine.memory_bytes:
        return
    fits = math.sqrt(machine.memory_bytes / needed)
    nearest = "x".join(str(max(16, int(side * fits) // 16 * 16)) for side in (width, height))
    raise PixartError(
        "size-invalid",
        f"{width}x{height} needs {needed / _GIB:.1f} GiB for the finished picture alone;"
        f" this machine has {machine.memory_bytes / _GIB:.1f} GiB",
        f"The largest of this shape that fits is {nearest}."
        + (" With --draft larger ones fit." if large else ""),
    )


def _choose_device(machine: Machine, device: str) -> str:
    there = machine.devices()
    if device == "auto":
        return there[0]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in there:
        raise PixartError(
            "device-unavailable",
            f"there is no device {device!r} on this machine",
            f"There is: {', '.join(there)}. Use one of these, or --device auto.",
        )
    return wanted


def _choose_dtype(
    machine: Machine, accelerator: Accelerator | None, spec: ModelSpec, facts: Facts
) -> tuple[str, str]:
    """The precision and the sentence that says why."""
    if spec.family == "mini" or 0 < sum(facts.parameters.values()) < _SMALL:
        return "float32", "float32: a model this small gains nothing from half precision."
    if accelerator is None:
        if machine.cpu_bf16:
            return "bfloat16", "bfloat16: this processor multiplies it in hardware, 1.6 times as fast here."
        return "float32", "float32: this processor has no bfloat16 hardware."
    if accelerator.bf16:
        return "bfloat16", "bfloat16: half the memory, with float32's range."
    if spec.family == "cascade":
        return "float32", "float32: the device has no bfloat16, and the prior overflows in float16."
    return "float16", "float16: the device has no bfloat16; the VAE decodes in float32."


def _choose_rung(expected: Estimate, free: int, memory: str) -> tuple[Rung, str]:
    """The first rung that fits, or the first of those that were asked for; and the sentence that says why."""
    needs = expected.peak_bytes
    rungs = tuple(needs)
    if memory != "auto":
        rung = next(rung for rung in rungs if rung[0] == memory)
        return rung, f"{memory}: asked for; {_WORDS[rung]}."
    have = f"{free / _GIB:.1f} GiB"
    for rung in rungs:
        if needs[rung] <= 0.9 * free:
            about = f"about {needs[rung] / _GIB:.1f} GiB of {have} free"
            return rung, f"{rung[0]}: {_WORDS[rung]}; {about}{_above(rung, needs)}."
    about = f"about {needs[rungs[-1]] / _GIB:.1f} GiB are needed and {have} are free"
    return rungs[-1], f"low: even so {about}; it may not fit."


def _above(rung: Rung, needs: Mapping[Rung, int]) -> str:
    """What would be needed to save nothing."""
    first = next(iter(needs))
    return "" if rung == first else f", where all at once would take {needs[first] / _GIB:.1f}"


def _seconds(
    machine: Machine, accelerator: Accelerator | None, expected: Estimate, dtype: str
) -> float | None:
    rate = flops_a_second(machine, accelerator, dtype)
    return None if rate is None else expected.flops / rate


def flops_a_second(machine: Machine, accelerator: Accelerator | None, dtype: str) -> float | None:
    """About how fast `accelerator`, or without one the processor, computes in `dtype`; None if unknown."""
    if accelerator is not None:
        return accelerator.flops
    # Measured on one server core with the full-size transformer: 50 GFLOP/s in float32, 80 in bfloat16.
    return machine.cores * (80e9 if dtype == "bfloat16" else 50e9)
