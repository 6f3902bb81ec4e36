"""Training steps on a GPU as CUDA graphs: recorded once for each shape, then played back.

A network this small is done with a kernel before Python has found the next one. Played back, a step costs
the processor nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

Figures = dict[str, Tensor]


class Captured:
    """Steps that draw their random numbers from `generator`, one graph for each choice of shapes."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Figures]] = {}
        self._pool: Any = None
        self._refused = False

    def make(self, choice: Hashable, step: Callable[[], Figures]) -> Figures:
        """Make one step. The first of each `choice` runs as it is, and the recording of the next beside it.

        A step that cannot be recorded runs as it is from then on.
        """
        if choice in self._graphs:
            graph, figures = self._graphs[choice]
            graph.replay()
            return figures
        figures = step()
        if not self._refused:
            self._record(choice, step)
        return figures

    def _record(self, choice: Hashable, step: Callable[[], Figures]) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            graph.register_generator_state(self._generator)
            # One pool for all: what a step leaves between its kernels is of no use to the next step, and ten
            # shapes with a room each would fill the card.
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool):
                figures = step()
        except RuntimeError:
            self._refused = True
            torch.cuda.synchronize()
            return
        self._graphs[choice] = (graph, figures)
