"""The seam between a batch and what draws it: tasks go in, outcomes come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pixart_cli.core import prompt_list
from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import Level
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.settings import Job
from pixart_cli.features.batch.publishing import Kept
from pixart_cli.features.batch.store import FOLDERS, Store


@dataclass(frozen=True, kw_only=True)
class Task:
    """One picture that does not exist yet.

    Attributes:
        job: what to draw; its `index` counts the pictures of the list.
        entry: the prompt of the list that it comes from.
        fingerprint: as the picture will record it.
        paths: where it may go, absolute: the first that is free, or that is its own already.
        metadata: how much it says of itself.
        files: by sha256, where the files lie that the request names.
        store: what keeps it at one of `paths`.
    """

    job: Job
    entry: prompt_list.Job
    fingerprint: str
    paths: tuple[Path, ...]
    metadata: Level
    files: Mapping[str, Path] = field(default_factory=dict)
    store: Store = FOLDERS

    @property
    def kept(self) -> Kept | None:
        """The picture, if it exists.

        Raises:
            PixartError: "disk" where a store gives no answer.
        """
        return self.store.find(self.paths, self.fingerprint, by_name=self.metadata == "none")

    @property
    def existing(self) -> Path | None:
        """Where the picture is, as `kept`."""
        kept = self.kept
        return kept.path if kept else None

    @property
    def request(self) -> GenerationRequest:
        """What decides the pixels."""
        return self.job.request


@dataclass(frozen=True, kw_only=True)
class Published:
    """A task whose picture now exists at `path`; `by_another` if somebody else had published it meanwhile."""

    task: Task
    path: Path
    provenance: Mapping[str, Any]
    seconds: float
    warnings: tuple[str, ...] = ()
    by_another: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A task that could not be drawn or published, and why."""

    task: Task
    error: PixartError


Outcome = Published | Failed


class Engine(Protocol):
    """Draws tasks and publishes them, here or elsewhere.

    Executions may happen more than once, a publication never: see `publishing.publish_picture`.
    """

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """One outcome a task, in the order in which they come about. Tasks are taken as they are needed.

        What ends the whole batch is raised, after the outcomes of all that was drawn by then.

        Raises:
            PixartError: "disk", "model-missing", "weights-invalid" and what else no other task would escape.
        """
        ...
