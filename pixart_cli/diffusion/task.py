"""One denoising that several processes do together: what a helper has to know of it, and how all begin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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
        stage: 0 for the base, then the number of the pass.
        source: (1, C, H, W) of the latents that a pass or a base with an init image begins with, else empty.
        files: by sha256, where the files lie that the request names.
    """

    request: GenerationRequest
    model: str
    plan: MemoryPlan
    dtype: str
    shapes: tuple[tuple[int, int], ...]
    embeds_dtype: str
    stage: int = 0
    source: tuple[int, ...] = ()
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        request: GenerationRequest,
        model: str,
        plan: MemoryPlan,
        dtype: torch.dtype,
        embeds: Sequence[torch.Tensor],
    ) -> Task:
        """The task to draw the base of `request` from `embeds`, each (L, C)."""
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
        plan = values["plan"] | {key: tuple(values["plan"][key]) for key in ("reasons", "tried")}
        return cls(
            **own
            | {
                "request": GenerationRequest.from_dict(values["request"], source="order"),
                "plan": MemoryPlan(**plan),
                "shapes": tuple((length, width) for length, width in values["shapes"]),
                "source": tuple(values["source"]),
            }
        )

    def joined(self, crew: Crew, device: str) -> Joined:
        """A helper's side of the beginning: links for tensors on `device`; all else on the CPU."""
        links = crew.meet(device)
        dtype = getattr(torch, self.embeds_dtype)
        embeds = tuple(links.broadcast(torch.empty(shape, dtype=dtype)) for shape in self.shapes)
        return Joined(links, embeds, links.broadcast(torch.empty(self.source)) if self.source else None)


@dataclass(frozen=True)
class Joined:
    """What a helper is given: links, the texts' embeddings and the picture to begin with, if there is one."""

    links: Links
    embeds: tuple[torch.Tensor, ...]
    source: torch.Tensor | None


class Company:
    """Those who denoise along with the process that leads: the other processes of `crew`, or nobody."""

    def __init__(
        self,
        crew: Crew | None,
        model: str,
        plan: MemoryPlan,
        embeds: Sequence[torch.Tensor],
        files: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self._crew, self._model, self._plan, self._embeds = crew, model, plan, embeds
        self._files = {sha256: str(path.absolute()) for sha256, path in files.items()}

    @contextmanager
    def called(
        self,
        request: GenerationRequest,
        dtype: torch.dtype,
        *,
        stage: int = 0,
        source: torch.Tensor | None = None,
    ) -> Iterator[Links | None]:
        """Links to the others, who begin `stage` of `request` as this process does; None without others.

        A failure within is told them.

        Raises:
            PixartError: as `Crew.meet`.
        """
        if self._crew is None:
            yield None
            return
        task = Task.of(request, self._model, self._plan, dtype, self._embeds)
        task = dataclasses.replace(task, files=self._files)
        if source is not None:
            task = dataclasses.replace(task, stage=stage, source=tuple(source.shape))
        self._crew.send(task.to_dict())
        with self._crew.attempt():
            links = self._crew.meet(self._plan.device)
            for each in (*self._embeds, *(() if source is None else (source.float(),))):
                links.broadcast(each)
            yield links


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
