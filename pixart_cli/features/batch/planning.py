"""How this machine draws the pictures of a batch: a plan for each model and size, worked out once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.refine import OFF
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.device import Facts, Machine, MemoryPlan, plan, probe
from pixart_cli.diffusion.weights import parameters_of
from pixart_cli.features.generate import spec_of

_REMEMBERED: Final = 1024
_ANY: Final = 64  # px: what a picture is computed with does not depend on its size


class Planner:
    """Plans of this machine, which is looked at when the first is asked for.

    Args:
        device: as `device.plan`, and so `memory`.
        compiled: whether blocks are to go through torch's compiler.
    """

    def __init__(self, *, device: str, memory: str, compiled: bool) -> None:
        self._device, self._memory, self._compiled = device, memory, compiled
        self._machine: Machine | None = None
        self._plan = lru_cache(_REMEMBERED)(self._planned)

    def plan_of(self, request: GenerationRequest) -> MemoryPlan:
        """How `request` is drawn.

        Raises:
            PixartError: "size-invalid" for a picture larger than the memory, "device-unavailable".
        """
        bits = request.text_encoder_bits
        return self._plan(request.model, request.width, request.height, request.refine, bits)

    def arithmetic_of(self, model: str) -> tuple[str, str]:
        """What `model` is computed with: the kind of device, and the precision, as ("cuda", "bfloat16").

        Raises:
            PixartError: as :meth:`plan_of`, and for a model that is not here.
        """
        found = self._plan(model, _ANY, _ANY, OFF, UNQUANTISED)
        return found.device.partition(":")[0], found.dtype

    def _planned(self, model: str, width: int, height: int, refine: str, bits: int) -> MemoryPlan:
        if self._machine is None:
            self._machine = probe()
        planned = plan(
            self._machine, spec_of(model), width, height,
            device=self._device, memory=self._memory, refine=refine,
            facts=Facts(parameters=parameters_of(model), encoder_bits=bits),
        )  # fmt: skip
        return replace(planned, compiled=self._compiled)
