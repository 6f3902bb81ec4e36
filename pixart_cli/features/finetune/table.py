"""Every key of a training configuration, in one table: kind, range, default and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import shown
from pixart_cli.core.options import Setting
from pixart_cli.core.paths import expand_home


@dataclass(frozen=True, kw_only=True)
class Texts(Setting):
    """A row whose value is a list of texts."""

    def check(self, value: Any, *, source: str, code: str | None = None) -> tuple[str, ...]:
        """`value` as a tuple; raises PixartError(`code`) for anything but a list of texts."""
        if isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.strip() for each in value):
            return tuple(value)
        what = f"{source}: {self.key} cannot be {shown(value)}"
        raise PixartError(code or "usage", what, 'Expected a list of texts, as ["a", "b"].')


@dataclass(frozen=True, kw_only=True)
class Counts(Setting):
    """A row whose value is a list of whole numbers, none below 0; each once, the least first."""

    def check(self, value: Any, *, source: str, code: str | None = None) -> tuple[int, ...]:
        """`value` as a sorted tuple; raises PixartError(`code`) for anything but a list of such numbers."""
        if isinstance(value, (list, tuple)) and all(type(each) is int and each >= 0 for each in value):
            return tuple(sorted(set(value)))
        what = f"{source}: {self.key} cannot be {shown(value)}"
        raise PixartError(code or "usage", what, "Expected a list of whole numbers, as [0, 100].")


@dataclass(frozen=True, kw_only=True)
class Place(Setting):
    """A row whose value is a path or a name; what is below ``~/`` is at home."""

    def check(self, value: Any, *, source: str, code: str | None = None) -> str:
        """`value` as a text; raises PixartError(`code`) for anything else."""
        text = str(super().check(value, source=source, code=code))
        if not text.strip() or "\x00" in text:
            what = f"{source}: {self.key} cannot be {shown(value)}"
            raise PixartError(code or "usage", what, "Name a file or folder.")
        return str(expand_home(text)) if text.startswith("~") else text


def _whole(key: str, default: int, least: int, most: int, about: str) -> Setting:
    return Setting(key=key, kind=int, default=default, minimum=least, maximum=most, help=about)


def _number(key: str, default: float, least: float, most: float, about: str) -> Setting:
    return Setting(key=key, kind=float, default=default, minimum=least, maximum=most, help=about)


def _word(key: str, choices: tuple[str, ...], about: str) -> Setting:
    return Setting(key=key, kind=str, default=choices[0], choices=choices, help=about)


def _switch(key: str, default: bool, about: str) -> Setting:
    return Setting(key=key, kind=bool, default=default, help=about)


_MANY: Final = 100_000_000
_TARGETS: Final = (
    "to_k", "to_q", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "proj", "linear",
    "linear_1", "linear_2",
)  # fmt: skip

ROWS: Final = (
    # what is trained, on what, and where to
    Setting(key="model", kind=str, default="", help="a model's name, or a folder in diffusers' layout"),
    Place(key="data", kind=str, default="", help="folder of pictures with captions, or WebDataset tars"),
    Place(key="out", kind=str, default="", help="folder of the run: checkpoints, metrics, the result"),
    Place(key="cache", kind=str, default="", help="folder of latents and embeddings; OUT/cache unless given"),
    _word("method", ("full", "lora"), "train every weight, or two small matrices a layer"),
    # what is changed of the model
    Place(key="vae", kind=str, default="", help="swap the VAE for this one: a folder, or a model's name"),
    Setting(key="image_size", kind=int, default=0, minimum=0, maximum=4096,
            help="native size to train at: 256, 512, 1024, 2048 or 4096; 0 is the model's own"),
    _switch("interpolate_positions", True, "stretch the position embedding over a larger size"),
    _switch("aspect_bins", True, "train at every trained shape, not at squares alone"),
    Setting(key="kv_compression", kind=str, default="off",
            help="off, or SAMPLING:R:LAYERS to compress keys and values, LAYERS as 14-27 or deep"),
    _word("kv_start", ("average", "random"), "how the compressing convolutions start"),
    # LoRA
    _whole("lora_rank", 16, 1, 1024, "rank of the two matrices"),
    _number("lora_alpha", 16.0, 0.001, 10_000, "alpha: the change counts alpha / rank"),
    Texts(key="lora_targets", kind=tuple, default=_TARGETS, help="the layers that are changed, by name"),
    # a subject, as DreamBooth
    Setting(key="instance_prompt", kind=str, default="", help="caption of every picture that has none"),
    Place(key="class_data", kind=str, default="", help="folder of pictures of the subject's class"),
    Setting(key="class_prompt", kind=str, default="", help="caption of the pictures of the class"),
    _number("prior_weight", 1.0, 0, 1000, "how much a picture of the class counts"),
    # how long and how fast
    _whole("steps", 1000, 1, _MANY, "steps of the optimizer"),
    _whole("batch_size", 1, 1, 65536, "pictures at once on each device"),
    _whole("accumulate", 1, 1, 65536, "forwards whose gradients make one step"),
    _word("optimizer", ("adamw", "came"), "the optimizer"),
    _number("learning_rate", 1e-5, 1e-12, 10, "the learning rate after warming up"),
    _whole("warmup_steps", 0, 0, _MANY, "steps over which the learning rate rises from nothing"),
    _word("schedule", ("constant", "cosine", "linear"), "the learning rate after warming up"),
    _number("weight_decay", 0.0, 0, 1, "weight decay"),
    _number("beta1", 0.9, 0, 0.99999, "decay of the optimizer's first moment"),
    _number("beta2", 0.999, 0, 0.9999999, "decay of the optimizer's second moment"),
    _number("clip", 1.0, 0, 1e6, "largest norm of the gradient; 0 does not clip"),
    _number("ema", 0.0, 0, 0.9999999, "decay of the moving average that is exported; 0 keeps none"),
    _whole("seed", 0, 0, 2**31 - 1, "what chance starts from"),
    # the loss
    _word("learn_sigma", ("auto", "on", "off"), "train the variance, where the model predicts one"),
    _number("min_snr", 0.0, 0, 1000, "gamma of the min-SNR weight; 0 is off"),
    _number("caption_dropout", 0.1, 0, 1, "share of captions replaced by none, for guidance"),
    # memory and precision
    _word("precision", ("auto", "float32", "bfloat16"), "precision of forward and backward"),
    _switch("gradient_checkpointing", False, "compute activations twice instead of keeping them"),
    _word("export_dtype", ("same", "float32", "bfloat16", "float16"), "precision of the exported weights"),
    Setting(key="device", kind=str, default="auto", help="auto, cpu, mps or cuda[:N]"),
    # what is kept and shown
    _whole("save_every", 500, 1, _MANY, "steps between checkpoints"),
    _whole("keep", 2, 1, 10_000, "how many checkpoints are kept"),
    Counts(key="export_at", kind=tuple, default=(), help="steps after which the result is exported, too"),
    _whole("log_every", 10, 1, _MANY, "steps between lines of metrics.jsonl"),
    _whole("sample_every", 0, 0, _MANY, "steps between sample pictures; 0 draws none"),
    Texts(key="sample_prompts", kind=tuple, default=(), help="what the sample pictures show"),
    _whole("sample_seed", 0, 0, 2**63 - 1, "seed of the sample pictures"),
    _switch("plots", True, "plot loss, learning rate and samples when done"),
    _switch("tensorboard", False, "log to tensorboard as well"),
)  # fmt: skip

KEYS: Final[Mapping[str, Setting]] = {row.key: row for row in ROWS}
RECIPE: Final = Setting(key="recipe", kind=str, default="", help="a recipe to start from")
FILE_KEYS: Final[Mapping[str, Setting]] = {**KEYS, RECIPE.key: RECIPE}
"""What a configuration file may say."""

_ABOUT: Final = (
    RECIPE,
    Setting(key="title", kind=str, help="the recipe in a few words"),
    Setting(key="description", kind=str, help="what it is for"),
    Texts(key="needs", kind=tuple, help="keys that the configuration must set"),
)
RECIPE_KEYS: Final[Mapping[str, Setting]] = {**KEYS, **{row.key: row for row in _ABOUT}}
"""What a recipe may say."""

# A continued run may change these: they do not decide the weights.
FREE: Final = frozenset({
    "out", "cache", "device", "save_every", "keep", "export_at", "log_every", "sample_every",
    "sample_prompts", "sample_seed", "plots", "tensorboard", "export_dtype", "steps", "batch_size",
    "accumulate", "gradient_checkpointing", "data", "class_data",
})  # fmt: skip
