"""The models of the catalogue: which are on this machine, where, and how to get one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pixart_cli.core.catalog import ModelSpec, catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.weights import Installed, locate


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One row of the catalogue on this machine. `problem` says why it is not `installed`."""

    spec: ModelSpec
    installed: Installed | None = None
    problem: PixartError | None = None

    @property
    def damaged(self) -> bool:
        """Whether files are there and wrong, and not just absent."""
        return self.problem is not None and self.problem.code != "model-missing"


def survey() -> list[ModelState]:
    """Every model of the catalogue, in its order; opens headers only, and no network."""
    return [_state(spec) for spec in catalog().values()]


def _state(spec: ModelSpec) -> ModelState:
    try:
        return ModelState(spec=spec, installed=locate(spec.name))
    except PixartError as problem:
        return ModelState(spec=spec, problem=problem)


def folders(model: str) -> Mapping[str, Path]:
    """Where each component of `model` (a name or a folder) is.

    Raises:
        PixartError: "model-unknown", "model-missing" or "weights-invalid".
    """
    return locate(model).parts
