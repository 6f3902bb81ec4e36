"""Two machines in all but name, one of which is lost in the middle of a batch: `make crash` runs this.

Needs Ray, and takes half a minute, so it is no part of the suite.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.features.batch.conftest import OF_RAY, Runs, entry
from tests.features.batch.mortal import DrawnOnRay

# Ray looks after a machine for half a minute before it gives it up; here for two seconds.
_IMPATIENT = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
    "health_check_initial_delay_ms": 1000,
}


def main() -> int:
    """The exit code: 0 when every picture is there once, with the bytes that one process gives."""
    os.environ.update(OF_RAY)
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(
        initialize_head=True,
        head_node_args=small | {"include_dashboard": False, "_system_config": _IMPATIENT},
    )
    try:
        other = cluster.add_node(**small)
        ray.init(address=cluster.address, namespace="pixart", log_to_driver=False, logging_level="CRITICAL")
        return _draw(other.all_processes["raylet"][0].process.pid)
    finally:
        ray.shutdown()
        cluster.shutdown()


def _draw(victim: int) -> int:
    jobs, killed = [entry(f"slow {n}", n) for n in range(40)], []

    def pause(events: list[object]) -> None:
        if len(events) >= 6 and not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "alone").mkdir()
        os.chdir(folder / "alone")
        list(Runs(folder / "alone").events(jobs))
        os.chdir(folder)
        drawn = DrawnOnRay(folder, jobs, pause=pause)
        pictures, expected = (
            {path.name: path.read_bytes() for path in (place / "out").glob("*.png")}
            for place in (folder, folder / "alone")
        )
        begun = len((folder / "begun").read_text().splitlines())
        os.chdir("/")
    right = pictures == expected and bool(killed) and drawn.batch.tally.done == len(jobs)
    verdict = "right" if right else "WRONG"
    told = f"{verdict}: a raylet killed, {len(pictures)} of {len(jobs)} pictures, {begun} begun"
    sys.stdout.write(f"{told}, {drawn.batch.tally}\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
