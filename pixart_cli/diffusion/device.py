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
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.refine import DIRECT, OFF, base_size, plan_passes
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.estimate import (
    NOTHING,
    Estimate,
    Facts,
    delivered_bytes,
    estimate,
    pictures_together,
)
from pixart_cli.diffusion.machine import Accelerator, Machine, probe
from pixart_cli.diffusion.quantisation import check_device
from pixart_cli.diffusion.rungs import IN_BITS, RUNGS, STREAMED, WHOLE, Rung, bits_of, rungs, words

__all__ = ["NOTHING", "RUNGS", "Accelerator", "Facts", "Machine", "MemoryPlan", "plan", "probe"]

_GIB: Final = 1 << 30
# Parameters below which float32 costs next to nothing.
_SMALL: Final = 100_000_000


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What was decided and why. `offload` is "full", "offload" or "low"; `reasons` are sentences.

    `encoder` is how the text encoder comes to the device: "whole", "streamed" block by block, quantised and
    whole as "8-bit" or "4-bit", or "together" with all else, as in models that are not PixArt's; `tried` are
    the rungs on which memory ran out; `compiled` asks for torch's compiler. `together` is how many pictures
    like this may share a forward, in a batch; on a processor one, for more take no less time there.
    `estimate_bytes` is the expected peak on `device`, `seconds_estimate` the time of one picture; both are
    rules of thumb from parameter and token counts, see `diffusion/estimate.py`.
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
        return words(rungs(self.encoder)[_position(self)])

    @property
    def encoder_bits(self) -> int:
        """Bits of the text encoder's weights; 16 for as many as `dtype` has."""
        return bits_of(self.encoder)

    @property
    def streams_encoder(self) -> bool:
        """Whether the text encoder's weights stay on the disk, in their file's precision."""
        quantised = self.encoder_bits != UNQUANTISED
        return self.encoder == STREAMED or (self.offload == "low" and not quantised)

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

        Below a quantised text encoder is one that is streamed: exact, and smaller on the device.

        Args:
            encoding: memory ran out while texts were encoded; else rungs that spare it alone do not help.
        """
        rest: Sequence[Rung] = rungs(self.encoder)[_position(self) + 1 :]
        if encoding and self.encoder_bits != UNQUANTISED:
            rest = [(self.offload, STREAMED)]
        following = next((rung for rung in rest if encoding or rung[0] != self.offload), None)
        if following is None:
            return None
        offload, encoder = following
        reason = f"Memory ran out, so now {offload}: {words(following)}."
        return dataclasses.replace(
            self, offload=offload, encoder=encoder, tried=(*self.tried, self.rung),
            reasons=(*self.reasons, reason),
        )  # fmt: skip


def _position(chosen: MemoryPlan) -> int:
    """The rung that `chosen` stands on; the last of those with its `offload` where it mixes two."""
    rung, ladder = (chosen.offload, chosen.encoder), rungs(chosen.encoder)
    return ladder.index(rung) if rung in ladder else [offload for offload, _ in ladder].index(chosen.offload)


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
        facts: what is known beyond the row: the real sizes of networks, an init image, and in how many bits
            the text encoder is wanted.

    Raises:
        PixartError: "device-unavailable" naming what there is, "size-invalid" when the finished picture
            alone is more than the machine's memory, "request-invalid" where the text encoder cannot be
            quantised.
    """
    chosen = _choose_device(machine, device)
    check_device(facts.encoder_bits, chosen)
    accelerator = next((a for a in machine.accelerators if a.device == chosen), None)
    dtype, dtype_reason = _choose_dtype(machine, accelerator, spec, facts)
    native = choose_bin(width, height, spec.native)
    size = base_size(refine, native, width, height)
    passes = plan_passes(refine, spec, native, width, height)
    _check_delivered(machine, width, height, large=refine == DIRECT or bool(passes))
    expected = estimate(spec, *size, dtype, passes, facts)
    free = machine.free_memory_bytes if accelerator is None else accelerator.free_bytes
    rung, memory_reason = _choose_rung(expected, free, memory, facts.encoder_bits)
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


def _choose_rung(expected: Estimate, free: int, memory: str, bits: int) -> tuple[Rung, str]:
    """The first rung that fits, or the first of those that were asked for; and the sentence that says why.

    How much memory is free decides no pixels: a text encoder that is wanted in `bits` is tried in these.
    """
    needs = expected.peak_bytes
    if memory != "auto":
        rung = next(rung for rung in needs if rung[0] == memory)
        return rung, f"{memory}: asked for; {words(rung)}."
    have = f"{free / _GIB:.1f} GiB"
    fitting = next((rung for rung in needs if needs[rung] <= 0.9 * free), None)
    if bits in IN_BITS and (fitting is None or fitting[1] == STREAMED):
        rung = ("low" if fitting is None else fitting[0], IN_BITS[bits])
        about = f"about {needs[rung] / _GIB:.1f} GiB are needed and {have} are free"
        return rung, f"{rung[0]}: {words(rung)}; {about}: if it does not fit, it is streamed, exactly."
    if fitting is not None:
        about = f"about {needs[fitting] / _GIB:.1f} GiB of {have} free"
        return fitting, f"{fitting[0]}: {words(fitting)}; {about}{_above(fitting, needs)}."
    last = tuple(needs)[-1]
    about = f"about {needs[last] / _GIB:.1f} GiB are needed and {have} are free"
    return last, f"low: even so {about}; it may not fit."


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
