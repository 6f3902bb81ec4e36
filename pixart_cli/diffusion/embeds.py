"""Prompt embeddings kept on disk: the second picture of a prompt needs no text encoder.

An entry is found again only by who would compute the very same bits: with the same encoder and tokenizer,
the same libraries, on the same kind of device, in the same precision and number of bits. So a picture is the
same with it and without. Only the real tokens are kept, as `text.encode` gives them, and no text. No torch
until asked.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.paths import cache_dir
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.digest import digests, promised
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.part_files import weight_files
from pixart_cli.diffusion.quantisation import LIBRARY
from pixart_cli.diffusion.weights import Installed

if TYPE_CHECKING:
    import torch

# An encoder of fewer bytes is loaded and run in less than a tenth of a second: docs/performance.md.
TINY_BYTES: Final = 16 << 20
_TENSOR: Final = "prompt_embeds"
_SEAL: Final = "seal"
# To be increased when the way from a text to its embeddings changes.
_METHOD: Final = 1


def kept(limit_bytes: int) -> DiskCache:
    """The files of all kept embeddings, whatever encoder they are from."""
    return DiskCache(cache_dir() / "embeds", limit_bytes, ".safetensors")


def embeds_cache(installed: Installed, limit_bytes: int) -> EmbedsCache | None:
    """Where embeddings of `installed` are kept; None where keeping them costs more than it saves.

    Raises:
        PixartError: "weights-invalid" when a header of the encoder's files is none.
    """
    if limit_bytes == 0 or encoder_bytes(installed) < TINY_BYTES:
        return None
    return EmbedsCache(installed, kept(limit_bytes))


def encoder_bytes(installed: Installed) -> int:
    """Bytes of the text encoder's parameters, as the headers of its files say."""
    files = weight_files(installed.parts["text_encoder"])
    return sum(entry.size_bytes for path in files for entry in read_header(path).values())


class EmbedsCache:
    """The kept embeddings of one model's text encoder. Whatever is wrong with an entry, it is a miss."""

    def __init__(self, installed: Installed, cache: DiskCache) -> None:
        self._installed = installed
        self._cache = cache

    def recall(self, text: str, dtype: torch.dtype, plan: MemoryPlan) -> torch.Tensor | None:
        """`prompt_embeds` of the normalised `text`, (L, C) in `dtype` on the CPU, or None."""
        name = self._name(text, dtype, plan)
        data = None if name is None else self._cache.read(name)
        return None if name is None or data is None else _unpacked(name, data, dtype)

    def keep(self, text: str, embeds_LC: torch.Tensor, plan: MemoryPlan) -> None:
        """Keep what `text` was encoded to, if it is finite and there is room."""
        name = self._name(text, embeds_LC.dtype, plan)
        if name is not None and embeds_LC.isfinite().all():
            self._cache.write(name, _packed(name, embeds_LC))

    def holds(self, text: str, dtype: torch.dtype, plan: MemoryPlan) -> bool:
        """Whether there is an entry for the normalised `text`; its content is not looked at."""
        name = self._name(text, dtype, plan)
        return name is not None and name in self._cache

    def _name(self, text: str, dtype: torch.dtype, plan: MemoryPlan) -> str | None:
        """The name of an entry; None where the encoder's files cannot be read, as loading it will tell."""
        try:
            encoder = self._revision
        except OSError:
            return None
        key = {
            "method": _METHOD,
            "encoder": encoder,
            "text": text,
            "tokens": self._installed.spec.max_tokens,
            "dtype": str(dtype),
            **_maker(plan),
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    @functools.cached_property
    def _revision(self) -> list[str]:
        """What exactly encoder and tokenizer are."""
        parts = self._installed.parts
        small = [parts["text_encoder"] / "config.json", *_files(parts["tokenizer"])]
        named = [f"{path.name}:{digests([path])[-1]}" for path in small]
        return [*named, *_weights(self._installed)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _weights(installed: Installed) -> list[str]:
    """What the encoder's weight files are: the hub's word, or one digest over all of them.

    The record of a picture has the digest over all networks' files, the encoder's first. So both come
    from one reading.
    """
    files = weight_files(installed.parts["text_encoder"])
    said = [promised(path) for path in files]
    if all(said):
        return [str(each) for each in said]
    every = installed.files()
    return [digests(every)[every.index(files[-1])]]


def _maker(plan: MemoryPlan) -> dict[str, Any]:
    """What decides how the same network rounds: libraries, device, bits, and on the processor its threads."""
    import torch

    from pixart_cli.diffusion.provenance import device_name, processor

    kind = plan.device.partition(":")[0]
    quantised = (
        {} if plan.encoder_bits == UNQUANTISED else {"bits": plan.encoder_bits, LIBRARY: version(LIBRARY)}
    )
    return {
        "libraries": [torch.__version__, version("transformers"), version("tokenizers")],
        "device": [kind, device_name(plan.device), *(processor().values() if kind == "cpu" else ())],
        **quantised,
    }


def _packed(name: str, embeds_LC: torch.Tensor) -> bytes:
    from safetensors.torch import save

    data: bytes = save({_TENSOR: embeds_LC.contiguous()}, metadata={_SEAL: _seal(name, embeds_LC)})
    return data


def _unpacked(name: str, data: bytes, dtype: torch.dtype) -> torch.Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        embeds: torch.Tensor = load(data)[_TENSOR]
        length = int.from_bytes(data[:8], "little")
        seal = json.loads(data[8 : 8 + length])["__metadata__"][_SEAL]
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None
    if embeds.ndim != 2 or embeds.dtype is not dtype or seal != _seal(name, embeds):
        return None
    return embeds.clone()


def _seal(name: str, embeds_LC: torch.Tensor) -> str:
    """A checksum over the numbers, their shape and precision, and whose they are."""
    import torch

    head = f"{name} {embeds_LC.dtype} {list(embeds_LC.shape)} ".encode()
    numbers = embeds_LC.contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(head + numbers.tobytes()).hexdigest()
