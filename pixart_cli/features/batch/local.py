"""The engine of this machine: prompts embedded together, pictures drawn one after another, written beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from pixart_cli.core.errors import PixartError, let_go_of_what_failed
from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Renderer, Rendering
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.features.batch.engine import Failed, Outcome, Task
from pixart_cli.features.batch.writers import Writers, as_error

CHUNK: Final = 256  # pictures whose prompts are embedded together, and that are put in order of size
ALIKE: Final = 10  # failures in a row that no picture explains
# What the next picture would meet as well, unless the picture itself brought it.
_OF_ALL: Final = frozenset(
    "disk model-missing download-failed weights-invalid install-broken device-unavailable process-lost"
    " not-in-this-build extra-missing".split()
)
_BROUGHT: Final = {
    "model-missing": "model", "download-failed": "model", "weights-invalid": "model",
    "extra-missing": "encoder_bits",
}  # fmt: skip

RendererOf = Callable[[str, MemoryPlan, dict[str, Path]], Renderer]
PlanOf = Callable[[Task], MemoryPlan]


class LocalEngine:
    """Draws in this process.

    Args:
        renderer_of: gives what draws, by model, plan and the files that requests name; asked again when model
            or plan change, and after memory ran out.
        plan_of: how this machine draws a task.
        force: publish over what is there.
        on_progress: told of every step.
        pause: called where the batch may be left, between two steps and two pictures; raises to leave it.
        begin: told of every picture that is begun.
    """

    def __init__(
        self,
        renderer_of: RendererOf,
        plan_of: PlanOf,
        *,
        force: bool,
        on_progress: ProgressCallback,
        pause: Callable[[], None],
        begin: Callable[[Task], None] = lambda _task: None,
    ) -> None:
        self._begin = begin
        self._renderer_of, self._plan_of, self._force = renderer_of, plan_of, force
        self._on_progress, self._pause = on_progress, pause
        self._key: tuple[object, ...] = ()
        self._renderer: Renderer | None = None
        self._files: dict[str, Path] = {}
        self._alike = 0

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """As `Engine.run`."""
        with Writers(force=self._force) as writers:
            try:
                wrong = None
                while wrong is None:
                    chunk, wrong = _take(tasks)
                    planned = [(task, self._planned(task)) for task in chunk]
                    yield from (
                        self._blame(task, plan) for task, plan in planned if isinstance(plan, PixartError)
                    )
                    for group in self._groups(planned):
                        yield from self._draw(group, writers)
                    if not chunk:
                        break
                yield from writers.rest()
                if wrong is not None:
                    raise wrong
            except GeneratorExit:
                raise
            except BaseException:
                yield from writers.rest(quietly=True)
                raise

    def _draw(self, tasks: list[Task], writers: Writers) -> Iterator[Outcome]:
        """All of `tasks`, which one renderer draws; what fails is told, and the others are drawn."""
        while tasks:
            self._pause()
            watch = _Watch(tasks, self._on_progress, self._pause, self._begin)
            done, error = 0, None
            for made in self._rendered(tasks, watch):
                if isinstance(made, PixartError):
                    error = made
                    break
                yield from writers.write(tasks[done], made)
                done, self._alike = done + 1, 0
                self._pause()
            if error is None:
                return
            if done == 0 and len(tasks) > 1 and not watch.drawing and not _ends_all(error, tasks):
                yield from self._isolate(tasks, writers)
                return
            yield self._blame(tasks[done], error)
            tasks = tasks[done + 1 :]

    def _rendered(self, tasks: Sequence[Task], watch: _Watch) -> Iterator[Rendering | PixartError]:
        """What is drawn of `tasks`, in their order, up to the first that fails; then why."""
        try:
            requests = [task.request for task in tasks]
            yield from self._renderer_for(tasks).render(requests, on_progress=watch)
        except Exception as failure:  # noqa: BLE001 -- whatever one picture does, the others are drawn
            let_go_of_what_failed(failure)
            yield as_error(failure)

    def _isolate(self, tasks: list[Task], writers: Writers) -> Iterator[Outcome]:
        """Halve `tasks`, one of which none can be drawn with, until that one is alone."""
        middle = len(tasks) // 2
        for half in (tasks[:middle], tasks[middle:]):
            yield from self._draw(half, writers)

    def _blame(self, task: Task, error: PixartError) -> Failed:
        """`error` as that of `task` alone.

        Raises:
            PixartError: when it is that of all.
        """
        if error.code in _OF_ALL and not _brought(task, error):
            raise error
        self._alike = self._alike + 1 if error.code == "bug" else 0
        if self._alike == ALIKE:
            raise error
        if error.code in ("out-of-memory", "bug"):
            self._renderer = None  # the plan was stepped down, or who knows what the networks hold now
        return Failed(task=task, error=error)

    def _planned(self, task: Task) -> MemoryPlan | PixartError:
        try:
            return self._plan_of(task)
        except PixartError as error:
            return error

    @staticmethod
    def _groups(planned: Iterable[tuple[Task, MemoryPlan | PixartError]]) -> Iterator[list[Task]]:
        """Tasks by renderer, and inside by what can be drawn together; else in the list's order."""
        groups: dict[tuple[object, ...], dict[tuple[object, ...], list[Task]]] = {}
        for task, plan in planned:
            if isinstance(plan, MemoryPlan):
                request = task.request
                alike = groups.setdefault(_key(task, plan), {})
                alike.setdefault((request.lora, request.width, request.height), []).append(task)
        for group in groups.values():
            yield [task for tasks in group.values() for task in tasks]

    def _renderer_for(self, tasks: Sequence[Task]) -> Renderer:
        self._files.clear()
        for task in tasks:
            self._files.update(task.files)
        plan = self._plan_of(tasks[0])
        key = _key(tasks[0], plan)
        if self._renderer is None or key != self._key:
            self._renderer = None  # freed before the next is loaded
            self._renderer = self._renderer_of(tasks[0].request.model, plan, self._files)
            self._key = key
        return self._renderer


class _Watch:
    """Passes events on, and knows which of `tasks` is being drawn. Every event is a place to leave at."""

    def __init__(
        self,
        tasks: Sequence[Task],
        on_progress: ProgressCallback,
        pause: Callable[[], None],
        begin: Callable[[Task], None],
    ) -> None:
        self._tasks, self._on_progress, self._pause, self._begin = tasks, on_progress, pause, begin
        self._index: int | None = None

    @property
    def drawing(self) -> bool:
        """Whether drawing had begun."""
        return self._index is not None

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage not in ("load", "encode") and event.index != self._index:
            self._index = event.index
            self._begin(self._tasks[event.index])
        self._on_progress(event)
        self._pause()


def _take(tasks: Iterator[Task]) -> tuple[list[Task], PixartError | None]:
    """The next tasks, and what is wrong with the line after them, if it is wrong."""
    chunk: list[Task] = []
    try:
        chunk.extend(islice(tasks, CHUNK))
    except PixartError as error:
        return chunk, error
    return chunk, None


def _key(task: Task, plan: MemoryPlan) -> tuple[object, ...]:
    """What the renderer depends on: the model, how it is held in memory, and how much it draws at once."""
    return task.request.model, plan.device, plan.dtype, plan.offload, plan.encoder, plan.together


def _brought(task: Task, error: PixartError) -> bool:
    """Whether the picture's own options are what `error` is about."""
    own = task.entry.options
    return _BROUGHT.get(error.code, "") in own or (error.code == "weights-invalid" and "lora" in own)


def _ends_all(error: PixartError, tasks: Sequence[Task]) -> bool:
    return error.code in _OF_ALL and not any(_brought(task, error) for task in tasks)
