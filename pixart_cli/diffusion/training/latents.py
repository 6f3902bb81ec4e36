"""What a VAE makes of every picture, kept on disk once: mean and deviation, to draw from."""

from __future__ import annotations

import hashlib
import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.core.errors import PixartError

# To be increased when the way from a file to its latents changes.
_METHOD = 1


class LatentsCache:
    """Posteriors by name in the folder of `cache`, all of one VAE: `vae` says which, and how it rounds."""

    def __init__(self, cache: DiskCache, vae: str) -> None:
        self._cache, self._vae = cache, vae

    def name_of(self, picture: object, width: int, height: int) -> str:
        """The entry of `picture` (JSON data that tell its file from all others) at that size."""
        key = json.dumps([_METHOD, self._vae, picture, width, height], sort_keys=True)
        return hashlib.sha256(key.encode()).hexdigest()

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry `name`."""
        return name in self._cache

    def keep(self, name: str, mean_CHW: Tensor, deviation_CHW: Tensor) -> None:
        """Write an entry, whole or not at all.

        Raises:
            PixartError: "disk" when it cannot be kept.
        """
        tensors = {"mean": mean_CHW.cpu().contiguous(), "deviation": deviation_CHW.cpu().contiguous()}
        if not self._cache.write(name, save(tensors)):
            raise unkept(self._cache)

    def load(self, name: str) -> tuple[Tensor, Tensor]:
        """(mean, deviation), each (C, H/8, W/8) float32.

        Raises:
            PixartError: "disk" when the entry has gone or is damaged.
        """
        data = self._cache.read(name)
        try:
            tensors = load(data) if data is not None else {}
            return tensors["mean"], tensors["deviation"]
        except (SafetensorError, KeyError):
            what = f"{self._cache.folder / name}.safetensors has gone or is damaged"
            raise PixartError("disk", what, "Remove it and run the same command again.") from None


def unkept(cache: DiskCache) -> PixartError:
    """The error of a folder that takes nothing more."""
    hint = 'Free some space there, or name another folder with cache = "DIR".'
    return PixartError("disk", f"cannot keep latents and embeddings in {cache.folder}", hint)


def draw(mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """One draw from the posterior: mean + deviation · n (Kingma & Welling 2013, arXiv 1312.6114, §2.4)."""
    return mean + deviation * torch.randn(mean.shape, generator=generator)
