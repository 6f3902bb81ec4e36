"""Which engine a batch is drawn with, from the words of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.cli.options import Door
from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import MEGABYTE

if TYPE_CHECKING:
    from pixart_cli.features.batch.engine import Engine
    from pixart_cli.features.batch.resolve import Resolver

ENGINES: Final = ("local", "ray")
_OF_RAY: Final = ("address", "workers", "gpus_per_worker", "allow_mixed")


@dataclass(frozen=True, kw_only=True)
class EngineWish:
    """What was said about the engine. What was not said of a cluster is None."""

    name: str
    address: str | None
    workers: int | None
    gpus_per_worker: float | None
    allow_mixed: bool

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> EngineWish:
        """The wish in a command's options.

        Raises:
            PixartError: "usage"; "extra-missing" when Ray is asked for and not installed.
        """
        name = said["engine"]
        if name not in ENGINES:
            raise PixartError("usage", f"no engine is named {name!r}", "There are: local, ray.")
        own = {key: said[key] for key in _OF_RAY}
        idle = [key for key, value in own.items() if value is not None and value is not False]
        if idle and name != "ray":
            option = "--" + idle[0].replace("_", "-")
            raise PixartError("usage", f"{option} is about a Ray cluster", "Add --engine ray.")
        if name == "ray":
            from pixart_cli.features.batch.cluster import check_installed

            check_installed()
        return cls(name=name, **own)


def ray_engine(
    door: Door,
    wish: EngineWish,
    resolver: Resolver,
    *,
    models: Sequence[str],
    pause: Callable[[], None],
    together: bool,
) -> Engine:
    """The engine of a Ray cluster, for the pictures of `resolver`; of `models`, as far as they are known."""
    from pixart_cli.features.batch.cluster import Wish
    from pixart_cli.features.batch.painter import Orders
    from pixart_cli.features.batch.ray_engine import RayEngine

    values = resolver.settings.values
    orders = Orders(
        device=values["device"], memory=values["memory"], compiled=values["torch_compile"],
        models=tuple(models), cache_bytes=values["prompt_cache"] * MEGABYTE,
        together=together, force=values["force"], renderers=door.renderers,
    )  # fmt: skip
    cluster = Wish(
        address=wish.address, workers=wish.workers, gpus_per_worker=wish.gpus_per_worker,
        allow_mixed=wish.allow_mixed,
    )  # fmt: skip
    return RayEngine(cluster, orders, pause=pause, say=door.printer.say)
