"""A prompt list → pictures: what exists is passed over, the rest drawn, and every failure written down."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, cast

from pixart_cli.core import prompt_list
from pixart_cli.core.errors import PixartError
from pixart_cli.core.unfinished import sweep
from pixart_cli.features.batch.attempts import Attempts
from pixart_cli.features.batch.engine import Engine, Failed, Outcome, Published, Task
from pixart_cli.features.batch.failures import Failures, is_failures, whole
from pixart_cli.features.batch.publishing import Kept
from pixart_cli.features.batch.records import Records
from pixart_cli.features.batch.resolve import Resolver, in_shard

Shard = tuple[int, int]
WHOLE: Final[Shard] = (0, 1)
_ONES_OWN: Final = ("lora-missing", "init-image-missing", "init-image-invalid", "weights-invalid")
_RECENT: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A prompt that became no picture because a file it names is not what it should be."""

    entry: prompt_list.Job
    error: PixartError


Event = Published | Failed | Refused


@dataclass(kw_only=True)
class Tally:
    """How far a batch is. `total` is None where the list is not known to its end yet.

    `outdated` of the `existing` say that other weights drew them than those here now, by model.
    """

    total: int | None = None
    drawn: int = 0
    existing: int = 0
    failed: int = 0
    outdated: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """How many pictures there is nothing more to do for in this run."""
        return self.drawn + self.existing + self.failed

    @property
    def left(self) -> int | None:
        """How many are still to come, if that is known."""
        return None if self.total is None else max(0, self.total - self.done)


class _Enough(Exception):  # noqa: N818 -- no error: the first failure was one too many
    """Leaves the engine in an orderly way."""


class Batch:
    """One run over a prompt list.

    Args:
        resolver: makes pictures of prompts.
        typed: the settings of the command line, which a list of failures has to repeat.
        shard: (I, N): only the I-th of N parts of the pictures.
        force: draw what exists already, too.
        fail_fast: end at the first failure.
        source: the list on the disk, if it is there: one of failures is kept up to date itself.
        on_tally: told when the numbers change.

    Attributes:
        tally: how far it is.
        failures: where failures are written down.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        typed: Mapping[str, Any],
        shard: Shard = WHOLE,
        force: bool = False,
        fail_fast: bool = False,
        source: Path | None = None,
        on_tally: Callable[[Tally], None] = lambda _tally: None,
    ) -> None:
        self.tally = Tally()
        own = source if source is not None and is_failures(source) else None
        self.failures = Failures(own or resolver.folder / _named("failed", shard, ".txt"))
        self._records = Records(resolver.folder / _named("records", shard, ".jsonl"))
        self._resolver, self._typed, self._shard = resolver, typed, shard
        self._force, self._fail_fast, self._on_tally = force, fail_fast, on_tally
        self._attempts: Attempts | None = None
        self._refused: deque[Refused | Failed] = deque()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._failed_fast = False

    def pause(self) -> None:
        """To be called by the engine between two steps: leaves it when `fail_fast` says so."""
        if self._failed_fast:
            raise _Enough

    def begin(self, task: Task) -> None:
        """To be called by an engine of this process when it begins to draw `task`."""
        if self._attempts is not None:
            self._attempts.begin(task.fingerprint)

    def run(self, entries: Iterable[prompt_list.Job], engine: Engine) -> Generator[Event, None, None]:
        """Draw what is missing, and tell of each picture that is drawn or fails.

        However it ends, failures are written down and what was drawn exists.

        Raises:
            PixartError: what stops a batch: a wrong line, "disk", and as `Engine.run` does.
        """
        self._attempts = Attempts(self._resolver.folder)
        sweep(self._resolver.folder)
        try:
            yield from self._events(engine.run(self._tasks(entries)))
        except _Enough:
            yield from self._refusals()
        finally:
            self._attempts.close()
            self._records.close()
            self.failures.save()

    def _events(self, outcomes: Iterator[Outcome]) -> Iterator[Event]:
        for outcome in chain(outcomes, [None]):
            yield from self._refusals()
            if isinstance(outcome, Published):
                self._records.add(outcome)
                self._settle(outcome.task)
                self._count(drawn=not outcome.by_another, existing=outcome.by_another)
                yield outcome
            elif outcome is not None:
                self._write_down(outcome)
                yield outcome

    def _refusals(self) -> Iterator[Refused | Failed]:
        while self._refused:
            refused = self._refused.popleft()
            self._write_down(refused)
            yield refused

    def _write_down(self, event: Refused | Failed) -> None:
        if isinstance(event, Failed):
            task = event.task
            self.failures.add(
                whole(task.entry, self._typed, task.request.seed), event.error, task.fingerprint
            )
        else:
            self.failures.add(whole(event.entry, self._typed, None), event.error)
        self._count(failed=True)

    def _settle(self, task: Task) -> None:
        """The picture exists."""
        self.failures.settle(task.fingerprint)
        if self._attempts is not None:
            self._attempts.settle(task.fingerprint)

    def _compare(self, task: Task, kept: Kept) -> None:
        """A request names a model, and a model's weights change: with a new edition, or by training on."""
        here = self._resolver.weights_of(task.request.model) if kept.weights else None
        if here and here != kept.weights:
            self.tally.outdated[task.request.model] += 1

    def _count(self, *, drawn: bool = False, existing: bool = False, failed: bool = False) -> None:
        self.tally.drawn += drawn
        self.tally.existing += existing
        self.tally.failed += failed
        self._failed_fast |= failed and self._fail_fast
        self._on_tally(self.tally)

    def _tasks(self, entries: Iterable[prompt_list.Job]) -> Iterator[Task]:
        """The pictures of `entries` that belong to this part and do not exist, as they are asked for."""
        for task in self._all(entries):
            if self._is_recent(task.fingerprint):
                self._count(existing=True)
            elif not self._force and (kept := task.kept):
                self._settle(task)
                self._compare(task, kept)
                self._count(existing=True)
            elif self._attempts is not None and (error := self._attempts.refuse(task.fingerprint)):
                self._refuse(Failed(task=task, error=error))
            else:
                yield task

    def _all(self, entries: Iterable[prompt_list.Job]) -> Iterator[Task]:
        index = 0
        for entry in entries:
            try:
                tasks = self._resolver.tasks(entry, index)
            except PixartError as error:
                if error.code not in _ONES_OWN:
                    raise
                self._refuse(Refused(entry=entry, error=error))
                continue
            index += len(tasks)
            yield from (task for task in tasks if in_shard(task.fingerprint, self._shard))

    def _refuse(self, refused: Refused | Failed) -> None:
        self._refused.append(refused)
        self._failed_fast |= self._fail_fast
        self.pause()

    def _is_recent(self, fingerprint: str) -> bool:
        """Whether the same picture was asked for a moment ago: it may not be there yet."""
        if fingerprint in self._recent:
            return True
        self._recent[fingerprint] = None
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return False

    def plan(self, entries: Iterable[prompt_list.Job]) -> Iterator[Task | Refused]:
        """Every picture of this part, drawn or not, and every prompt that can be none: nothing is written.

        Raises:
            PixartError: for a wrong line.
        """
        for task in chain(self._all(entries), [None]):
            while self._refused:
                yield cast(Refused, self._refused.popleft())
            if task is not None:
                yield task


def _named(stem: str, shard: Shard, suffix: str) -> str:
    part, parts = shard
    return f"{stem}{suffix}" if parts == 1 else f"{stem}.{part}-of-{parts}{suffix}"
