"""One denoising that several processes do together: what a helper has to know of it, and how all begin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.device import MemoryPlan

if TYPE_CHECKING:
    from pixart_cli.diffusion.crew import Crew
    from pixart_cli.diffusion.links import Links


@dataclass(frozen=True, kw_only=True)
class Task:
    """A picture to denoise with the others. The texts' embeddings are sent, so that one process encodes.

    Attributes:
        model: a name of the catalogue, or a folder.
        plan: the leader's.
        dtype: the precision that the transformer works in.
        shapes: (L, C) of each text's embeddings, in the order of `sampling.sample`.
        embeds_dtype: their precision.
    """

    request: GenerationRequest
    model: str
    plan: MemoryPlan
    dtype: str
    shapes: tuple[tuple[int, int], ...]
    embeds_dtype: str

    @classmethod
    def of(
        cls,
        request: GenerationRequest,
        model: str,
        plan: MemoryPlan,
        dtype: torch.dtype,
        embeds: Sequence[torch.Tensor],
    ) -> Task:
        """The task to draw `request` from `embeds`, each (L, C)."""
        return cls(
            request=request, model=model, plan=plan, dtype=_name(dtype),
            shapes=tuple((len(each), each.shape[1]) for each in embeds),
            embeds_dtype=_name(embeds[0].dtype),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON data, the inverse of :meth:`from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """The task that an order spells out; what else the order says is not looked at."""
        own = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        plan = values["plan"] | {"reasons": tuple(values["plan"]["reasons"])}
        return cls(
            **own
            | {
                "request": GenerationRequest.from_dict(values["request"], source="order"),
                "plan": MemoryPlan(**plan),
                "shapes": tuple((length, width) for length, width in values["shapes"]),
            }
        )

    @contextmanager
    def led(self, crew: Crew, embeds: Sequence[torch.Tensor]) -> Iterator[Links]:
        """Links to the others, who begin as this process, the leader, does. A failure within is told them.

        Raises:
            PixartError: as `Crew.meet`.
        """
        crew.send(self.to_dict())
        with crew.attempt():
            links = crew.meet(self.plan.device)
            for each in embeds:
                links.broadcast(each)
            yield links

    def joined(self, crew: Crew, device: str) -> tuple[Links, tuple[torch.Tensor, ...]]:
        """A helper's side of it: the links, for tensors on `device`, and the embeddings, on the CPU."""
        links = crew.meet(device)
        dtype = getattr(torch, self.embeds_dtype)
        return links, tuple(links.broadcast(torch.empty(shape, dtype=dtype)) for shape in self.shapes)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
