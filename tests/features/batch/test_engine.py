"""The seam: what stands behind it may be anything that takes tasks and gives outcomes."""

from collections.abc import Iterator

from pixart_cli.features.batch.engine import Engine, Failed, Outcome, Published, Task
from pixart_cli.features.batch.run import Batch
from tests.conftest import StandIn
from tests.features.batch.conftest import SMALL, entry, failing


class Elsewhere:
    """An engine that gives outcomes in another order than it took tasks, as many machines would."""

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        for task in reversed(list(tasks)):
            if "poison" in task.request.prompt:
                yield Failed(task=task, error=failing("out-of-memory")())
            else:
                yield Published(task=task, path=task.paths[0], provenance={}, seconds=1.0)


def test_a_batch_takes_any_engine(resolver, runs):
    engine: Engine = Elsewhere()
    batch = Batch(resolver, typed=SMALL)
    events = list(batch.run([entry("sun", 1), entry("poison", 2), entry("moon", 3)], engine))
    assert [event.task.entry.line for event in events] == [3, 2, 1]
    assert (batch.tally.drawn, batch.tally.failed) == (2, 1)


def test_a_task_says_all_that_a_machine_elsewhere_needs(resolver, tmp_path):
    (task,) = resolver.tasks(entry("red sun", seed=3), 5)
    assert (task.request.prompt, task.request.seed, task.job.index) == ("red sun", 3, 5)
    assert task.fingerprint == task.request.fingerprint
    assert task.paths[0] == tmp_path / "out" / "red-sun-3.png"
    assert list(StandIn().render([task.request], on_progress=lambda event: None))
