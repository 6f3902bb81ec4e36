"""What commands share: the options, typed once, and the `Door` that every command is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from pixart_cli.cli.output import Printer
from pixart_cli.cli.signals import Watch
from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import BY_SETTING
from pixart_cli.core.refine import DIRECT, OFF
from pixart_cli.core.rendering import Renderer

RendererFactory = Callable[[str, Any], Renderer]


@dataclass(frozen=True)
class Door:
    """Where a command prints, and what draws: by model and memory plan; None means the networks.

    `watch` knows of signals.
    """

    printer: Printer
    renderers: RendererFactory | None = None
    watch: Watch = field(default_factory=Watch)


def switched_on(*variables: str) -> bool:
    """Whether one of these environment variables says yes, in the words that huggingface_hub takes too."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "on", "yes", "true") for name in variables)


def door_of(context: typer.Context, *, as_json: bool = False) -> Door:
    """The door that `run` made, its printer set to `as_json` if this command was asked for it."""
    door: Door = context.obj
    door.printer.as_json |= as_json
    return door


def refine_of(refine: str | None, *, draft: bool, direct: bool) -> str | None:
    """The one thing that was said of refining.

    Raises:
        PixartError: "usage" when there are several.
    """
    said = [value for value in (refine, OFF if draft else None, DIRECT if direct else None) if value]
    if len(said) > 1:
        what = "--refine, --draft and --direct are three words for one thing"
        raise PixartError("usage", what, "Say one of them.")
    return said[0] if said else None


def _setting(key: str, metavar: str | None = None, about: str = "") -> Any:
    """The option of one row of `core/options.py`: its names, help and default are the table's."""
    row = BY_SETTING[key]
    text = about or row.help[0].upper() + row.help[1:].rstrip(".") + "."
    if isinstance(row.default, (str, int)) and not isinstance(row.default, bool) and row.default != "":
        text += f" [{row.default}]"
    name = "--" + key.replace("_", "-")
    shown = metavar or ("|".join(map(str, row.choices)) if row.choices else None)
    short = (f"-{row.short}",) if row.short else ()
    return typer.Option(name, *short, help=text, metavar=shown, show_default=False)


Prompts = Annotated[
    list[str], typer.Argument(metavar="PROMPT", help="What to draw, in quotes; - reads standard input.")
]
Preset = Annotated[str | None, _setting("preset", metavar="NAME")]
Res = Annotated[str | None, _setting("res", metavar="RES")]
Model = Annotated[str | None, _setting("model", metavar="NAME")]
Seed = Annotated[int | None, _setting("seed", metavar="N")]
Count = Annotated[int | None, _setting("count", metavar="N")]
Negative = Annotated[str | None, _setting("negative", metavar="TEXT")]
Steps = Annotated[int | None, _setting("steps", metavar="N")]
Guidance = Annotated[float | None, _setting("guidance", metavar="X")]
GuidanceUntil = Annotated[float | None, _setting("guidance_until", metavar="X")]
Scheduler = Annotated[str | None, _setting("scheduler")]
KvCompression = Annotated[str | None, _setting("kv_compression", metavar="off|auto|RATIO")]
Refine = Annotated[str | None, _setting("refine", metavar="auto|off|direct|N|STRENGTH")]
Draft = Annotated[
    bool, typer.Option("--draft", help="The base picture alone, enlarged: --refine off.", show_default=False)
]
Direct = Annotated[
    bool,
    typer.Option("--direct", help="Sample the full size at once: --refine direct.", show_default=False),
]
Lora = Annotated[list[str] | None, _setting("lora", metavar="FILE[:SCALE]")]
InitImage = Annotated[str | None, _setting("init_image", metavar="IMAGE")]
Strength = Annotated[float | None, _setting("strength", metavar="X")]
EncoderBits = Annotated[int | None, _setting("encoder_bits")]
Output = Annotated[str | None, _setting("output", metavar="PATH")]
Force = Annotated[bool | None, _setting("force")]
Metadata = Annotated[str | None, _setting("metadata")]
Device = Annotated[str | None, _setting("device", metavar="auto|cpu|mps|cuda[:N]", about="What computes.")]
Memory = Annotated[str | None, _setting("memory")]
TorchCompile = Annotated[bool | None, _setting("torch_compile")]
PromptCache = Annotated[int | None, _setting("prompt_cache", metavar="MB")]
Offline = Annotated[bool | None, _setting("offline")]
Yes = Annotated[bool | None, _setting("yes")]
Json = Annotated[bool | None, _setting("json")]
Print0 = Annotated[bool | None, _setting("print0")]
Quiet = Annotated[bool | None, _setting("quiet")]
Progress = Annotated[str | None, _setting("progress")]
DryRun = Annotated[bool | None, _setting("dry_run")]

# The other commands have no environment or files behind these three.
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ReplayOutput = Annotated[
    str | None, typer.Option("--output", "-o", metavar="PATH", help="Keep the picture drawn again there.")
]
ReplayLora = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE", help="A LoRA it was drawn with.", show_default=False),
]
ReplayInitImage = Annotated[
    Path | None,
    typer.Option("--init-image", metavar="IMAGE", help="The picture it started from.", show_default=False),
]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", help="PNG files.")]

# What only a batch is asked.
PromptList = Annotated[str, typer.Argument(metavar="LIST", help="A prompt list; - reads standard input.")]
Check = Annotated[
    bool,
    typer.Option("--check", help="Print the pictures and their number; draw nothing.", show_default=False),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End at the first failure.", show_default=False)]
JsonStream = Annotated[
    bool,
    typer.Option("--json-stream", help="A line of JSON an event, on standard output.", show_default=False),
]
Exclusive = Annotated[
    bool,
    typer.Option(
        "--exclusive", help="Refuse where another pixart writes into the folder.", show_default=False
    ),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Every picture in a forward of its own, as gen does.", show_default=False),
]
Shard = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Only part I of N of the pictures.")
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", metavar="N", min=1, help="N of each prompt's combinations, not all."),
]
ListFormat = Annotated[
    str,
    typer.Option(
        "--format", metavar="auto|text|csv|jsonl", help="How the list is written. [auto]", show_default=False
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", metavar="local|ray", help="What draws: this process, or a Ray cluster. [local]",
        show_default=False,
    ),
]  # fmt: skip
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="The Ray cluster. [$RAY_ADDRESS, or one of its own]"),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Processes that draw on Ray. [one a GPU or machine]"),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker", metavar="X", min=0, help="GPUs each takes, as 0.5; 0 for the processor. [1]"
    ),
]
AllowMixed = Annotated[
    bool,
    typer.Option(
        "--allow-mixed", help="Draw with unlike workers too: versions, precision.", show_default=False
    ),
]
