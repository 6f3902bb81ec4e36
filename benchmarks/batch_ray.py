"""`pixart batch --engine ray` with 2 and 4 workers against 1: pictures a second, as ratios of one run.

    python benchmarks/batch_ray.py [--pictures 200] [--seconds 0.2] [--rounds 3] [--workers 1 2 4]

Workers draw with a stand-in that waits as long as a GPU would take. What is compared is lending, publishing
and listening, and not how many cores this machine has. Ray is started before, and the first pictures of
every worker are not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixart_cli.core.prompt_list import Job
from pixart_cli.core.rendering import Rendering


@dataclass(frozen=True)
class Waiting:
    """Gives renderers that wait so many seconds a picture."""

    seconds: float

    def __call__(self, _model: str, _plan: object) -> Waiting:
        """Itself."""
        return self

    def render(self, requests: Any, *, on_progress: Any) -> Iterator[Rendering]:  # noqa: ARG002 -- the seam's
        """A grey picture a request."""
        from PIL import Image

        for request in requests:
            time.sleep(self.seconds)
            pixels = Image.new("RGB", (request.width, request.height), "grey")
            yield Rendering(pixels=pixels, request=request, provenance={}, seconds=self.seconds)


def rate(workers: int, pictures: int, seconds: float, ahead: int) -> float:
    """Pictures a second of one batch, after the first `ahead`, which wait for workers to begin."""
    from pixart_cli.features.batch.cluster import Wish
    from pixart_cli.features.batch.painter import Orders
    from pixart_cli.features.batch.ray_engine import RayEngine
    from pixart_cli.features.batch.resolve import Resolver
    from pixart_cli.features.batch.run import Batch

    typed = {"res": "64x48", "output": "out/"}
    with tempfile.TemporaryDirectory() as folder:
        resolver = Resolver(typed, cwd=Path(folder))
        batch = Batch(resolver, typed=typed)
        orders = Orders(
            device="cpu", memory="auto", cache_bytes=0, together=False, force=False,
            renderers=Waiting(seconds),
        )  # fmt: skip
        wish = Wish(workers=workers, gpus_per_worker=0)
        engine = RayEngine(wish, orders, pause=lambda: None, say=lambda _: None)
        jobs = (Job(prompt=f"a {n}", options={}, line=n, source="list") for n in range(pictures + ahead))
        times = [time.perf_counter() for _ in batch.run(jobs, engine)]
    return pictures / (times[-1] - times[ahead - 1])


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    import ray

    ray.init(
        address="local", num_cpus=max(options.workers), include_dashboard=False,
        object_store_memory=100_000_000, log_to_driver=False, logging_level="CRITICAL",
    )  # fmt: skip
    try:
        rates: dict[int, list[float]] = {workers: [] for workers in options.workers}
        for _ in range(options.rounds):
            for workers, found in rates.items():
                found.append(rate(workers, options.pictures, options.seconds, 8 * workers))
    finally:
        ray.shutdown()
    base = statistics.median(rates[options.workers[0]])
    for workers, found in rates.items():
        middle = statistics.median(found)
        print(f"{workers} workers: {middle / base:.2f} x {options.workers[0]}, {middle:.1f} pictures/s")


if __name__ == "__main__":
    main()
