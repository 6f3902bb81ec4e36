"""A LoRA of the hub into the shared cache: what is needed of its repository, planned first, then fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import split_wish
from pixart_cli.diffusion import hub_cache
from pixart_cli.diffusion.hub import Tell, fetch_file, list_files
from pixart_cli.diffusion.lora_file import CONFIG, PEFT, choose, hub_name, is_here
from pixart_cli.diffusion.records import HubFile

OnFile = Callable[[HubFile, int], None]
_MAIN = "main"


@dataclass(frozen=True)
class LoraPlan:
    """The files of one LoRA, `name` as it was typed, that have to be fetched."""

    name: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that come over the network."""
        return sum(file.size for file in self.files)


def is_elsewhere(wish: str) -> bool:
    """Whether ``PLACE[:SCALE]`` can be a name of the hub, of which this machine holds nothing."""
    name, _ = split_wish(wish)
    return hub_name(name) is not None and not is_here(name)


def plan_lora(wish: str, tell: Tell) -> LoraPlan:
    """What has to be fetched for `wish`: one file of weights, and peft's configuration if it has one.

    Raises:
        PixartError: "download-failed"; "lora-missing" for a file that the repository does not have;
            "weights-invalid" where it holds no safetensors, or several.
    """
    name, _ = split_wish(wish)
    found = hub_name(name)
    if found is None:
        raise PixartError("lora-missing", f"no LoRA {name!r}: that is no name of the hub", "Check the name.")
    repo, file = found
    files = {each.name: each for each in list_files(repo, _MAIN, tell)}
    if file is None:
        file = choose([each for each in files if "/" not in each], name)
    if file not in files:
        raise PixartError("lora-missing", f"{repo} on the hub holds no {file}", "Check the name.")
    folder, _, last = file.rpartition("/")
    config = f"{folder}/{CONFIG}" if folder else CONFIG
    also = [files[config]] if last == PEFT and config in files else []
    return LoraPlan(name, (files[file], *also))


def fetch_lora(plan: LoraPlan, on_file: OnFile, tell: Tell) -> None:
    """Fetch the files of `plan`, each compared with the hub's hash; `on_file` is told of bytes that came.

    Raises:
        PixartError: "download-failed", or "disk" when there is no room or no right to write.
    """
    first = plan.files[0]
    if plan.size_bytes > hub_cache.free_bytes():
        what = f"{plan.size_bytes / 1e6:.3g} MB are to be downloaded, and there is no room"
        raise PixartError("disk", f"{what} in {hub_cache.hub_cache()}", "Free space, or set HF_HOME.")
    try:
        with hub_cache.locked({first.repo}, tell):
            for file in plan.files:
                fetch_file(file, lambda done, file=file: on_file(file, done), tell)  # type: ignore[misc]
            hub_cache.point_main_at(first.repo, first.commit, force=True)
    except OSError as error:
        raise hub_cache.as_disk_error(error) from None
