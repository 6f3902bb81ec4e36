"""Pictures → latents, captions → embeddings: once, on disk. It can be stopped at any moment and goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.digest import digests
from pixart_cli.diffusion.embeds import EmbedsCache
from pixart_cli.diffusion.init_image import NotAPictureError, covering, picture_of
from pixart_cli.diffusion.part_files import weight_files
from pixart_cli.diffusion.text import normalise
from pixart_cli.diffusion.weights import Installed
from pixart_cli.features.finetune.pictures import Skipped
from pixart_cli.features.finetune.plan import Lesson, TrainPlan

if TYPE_CHECKING:
    import torch

    from pixart_cli.diffusion.training.latents import LatentsCache

_SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class TrainEvent:
    """`done` of `total` of a stage: "pictures", "captions", "train", "draw" or "saved"; `text` for a person.

    `seconds_left` is about how long the rest of the stage takes, where that is known.
    """

    stage: str
    done: int
    total: int
    text: str = ""
    seconds_left: float | None = None


OnEvent = Callable[[TrainEvent], None]


class Cache:
    """The latents and embeddings of one plan's pictures and captions."""

    def __init__(self, plan: TrainPlan) -> None:
        from pixart_cli.diffusion.pipeline import dtype_for, kept_dtype
        from pixart_cli.diffusion.training.latents import LatentsCache

        self._plan = plan
        parts = {**plan.installed.parts, "vae": plan.vae}
        self.installed: Installed = dataclasses.replace(plan.installed, parts=parts)
        folder = Path(plan.config.cache or Path(plan.config.out) / "cache")
        self.vae_digest = vae = digests([plan.vae / "config.json", *weight_files(plan.vae)])[-1]
        kind = plan.memory.device.partition(":")[0]
        self.latents: LatentsCache = LatentsCache(
            DiskCache(folder / "latents", None, _SUFFIX), f"{vae} {kind}"
        )
        self._kept = DiskCache(folder / "embeds", None, _SUFFIX)
        self._embeds = EmbedsCache(self.installed, self._kept)
        dtype = dtype_for("text_encoder", parts["text_encoder"], plan.memory)
        self._dtype: torch.dtype = dtype
        self._dtype_of = lambda key: kept_dtype("text_encoder", key, dtype)

    def name_of(self, lesson: Lesson) -> str:
        """The entry of a picture's latents."""
        picture, stat = lesson.picture, lesson.picture.path.stat()
        told = [str(picture.path.resolve()), picture.offset, picture.size_bytes, stat.st_mtime_ns]
        return self.latents.name_of(told, lesson.width, lesson.height)

    def embeds(self, caption: str) -> torch.Tensor:
        """The embeddings (L, D) of a caption that :meth:`read_captions` was given.

        Raises:
            PixartError: "disk" when they have gone.
        """
        found = self._embeds.recall(normalise(caption), self._dtype, self._plan.memory)
        if found is None:
            what = f"embeddings in {self._kept.folder} have gone or are damaged"
            raise PixartError("disk", what, "Remove that folder and run the same command again.")
        return found

    def read_pictures(self, lessons: Iterable[Lesson], on_event: OnEvent) -> list[Skipped]:
        """Encode those of `lessons` that are not kept yet; gives those that cannot be decoded.

        Raises:
            PixartError: "disk", "weights-invalid" of the VAE, "out-of-memory".
        """
        missing = [each for each in lessons if self.name_of(each) not in self.latents]
        if not missing:
            return []
        vae, skipped = self.load_vae(), []
        for done, lesson in enumerate(missing, start=1):
            why = self._read_picture(vae, lesson)
            if why:
                skipped.append(Skipped(lesson.picture.name, why))
            on_event(TrainEvent(stage="pictures", done=done, total=len(missing), text=lesson.picture.name))
        return skipped

    def load_vae(self) -> Any:
        """The VAE in float32 on the plan's device: half precision would cost detail for ever."""
        import torch

        from pixart_cli.diffusion.pipeline import load_network

        return load_network(
            "vae", self._plan.vae, spec=self._plan.spec, dtype=torch.float32, device=self._plan.memory.device
        )

    def _read_picture(self, vae: Any, lesson: Lesson) -> str:
        """Keep one picture's latents; why not, or ""."""
        import torch

        from pixart_cli.diffusion.decode import posterior

        try:
            picture = picture_of(lesson.picture.read())
        except NotAPictureError as error:
            return str(error)
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
        pixels = torch.from_numpy(covering(picture, lesson.width, lesson.height))
        with torch.inference_mode():
            self.latents.keep(self.name_of(lesson), *posterior(vae, pixels))
        return ""

    def read_captions(self, captions: Iterable[str], on_event: OnEvent) -> None:
        """Encode those of `captions` that are not kept yet.

        Raises:
            PixartError: "disk", "weights-invalid" of the text encoder, "out-of-memory".
        """
        texts = dict.fromkeys(normalise(caption) for caption in captions)
        held = self._embeds.holds
        missing = [text for text in texts if not held(text, self._dtype, self._plan.memory)]
        if not missing:
            return
        for done, text in enumerate(self._encoded(missing), start=1):
            if not held(text, self._dtype, self._plan.memory):
                from pixart_cli.diffusion.training.latents import unkept

                raise unkept(self._kept)
            on_event(TrainEvent(stage="captions", done=done, total=len(missing)))

    def untaught(self, captions: Iterable[str]) -> list[str]:
        """Words of `captions` that a small encoder has no pieces for, each once; none for T5-XXL."""
        from pixart_cli.diffusion.pipeline import load
        from pixart_cli.diffusion.text import unknown_words

        if self._plan.spec.family != "mini":
            return []
        tokenizer = load(self.installed, self._plan.memory).tokenizer
        found = (unknown_words(tokenizer, text) for text in dict.fromkeys(captions))
        return list(dict.fromkeys(word for words in found for word in words))

    def _encoded(self, texts: Iterable[str]) -> Iterator[str]:
        import torch

        from pixart_cli.diffusion.memory import encoding
        from pixart_cli.diffusion.pipeline import load
        from pixart_cli.diffusion.text import encode

        parts, memory = load(self.installed, self._plan.memory), self._plan.memory
        encoder = parts.text_encoder
        with encoding(encoder, memory, self._dtype_of):
            for text in texts:
                with torch.inference_mode():
                    embeds = encode(
                        parts.tokenizer, encoder, text,
                        max_tokens=self._plan.spec.max_tokens, device=memory.device,
                    )  # fmt: skip
                self._embeds.keep(text, embeds, memory)
                yield text
        del encoder
        parts.free("text_encoder")
