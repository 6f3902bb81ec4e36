"""`pixart batch`: many pictures from a prompt list."""

# ruff: noqa: ARG001 -- a command's options are read from its context, by the names of the table of settings

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from pixart_cli.cli import options
from pixart_cli.cli.advice import tell_of_better, tell_of_tiny_encoder
from pixart_cli.cli.batch_check import show
from pixart_cli.cli.batch_engine import EngineWish, ray_engine
from pixart_cli.cli.batch_report import Report
from pixart_cli.cli.consent import obtain_loras, renderer_for, with_weights
from pixart_cli.cli.options import Door, door_of
from pixart_cli.cli.output import Printer, as_typed
from pixart_cli.core.catalog import BUILT_IN
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import here
from pixart_cli.core.settings import Settings, lay_over

if TYPE_CHECKING:
    from pixart_cli.cli.batch_source import PromptSource
    from pixart_cli.core.rendering import Renderer
    from pixart_cli.features.batch.engine import Engine, Task
    from pixart_cli.features.batch.resolve import Resolver
    from pixart_cli.features.batch.run import Batch

_OWN: Final = (
    "source", "check", "fail_fast", "json_stream", "exclusive", "exact", "shard", "sample", "format",
    "engine", "address", "workers", "gpus_per_worker", "allow_mixed", "draft", "direct", "refine", "lora",
)  # fmt: skip
_STOPPING: Final = "\nleaving after this step, and what is drawn is kept; once more leaves at once\n"


def batch(
    context: typer.Context,
    source: options.PromptList,
    check: options.Check = False,
    fail_fast: options.FailFast = False,
    json_stream: options.JsonStream = False,
    exclusive: options.Exclusive = False,
    exact: options.Exact = False,
    shard: options.Shard = None,
    sample: options.Sample = None,
    format: options.ListFormat = "auto",  # noqa: A002 -- the option's name
    engine: options.EngineName = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    allow_mixed: options.AllowMixed = False,
    preset: options.Preset = None,
    res: options.Res = None,
    model: options.Model = None,
    seed: options.Seed = None,
    count: options.Count = None,
    negative: options.Negative = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    guidance_until: options.GuidanceUntil = None,
    scheduler: options.Scheduler = None,
    kv_compression: options.KvCompression = None,
    refine: options.Refine = None,
    draft: options.Draft = False,
    direct: options.Direct = False,
    lora: options.Lora = None,
    init_image: options.InitImage = None,
    strength: options.Strength = None,
    encoder_bits: options.EncoderBits = None,
    output: options.Output = None,
    force: options.Force = None,
    metadata: options.Metadata = None,
    device: options.Device = None,
    memory: options.Memory = None,
    torch_compile: options.TorchCompile = None,
    prompt_cache: options.PromptCache = None,
    offline: options.Offline = None,
    yes: options.Yes = None,
    json: options.Json = None,
    print0: options.Print0 = None,
    quiet: options.Quiet = None,
    progress: options.Progress = None,
    dry_run: options.DryRun = None,
) -> None:
    """Draw the pictures of a prompt list that do not exist yet.

    Run it again after an interruption, a failure or a change of the list: what exists is not drawn again.

    \b
    Examples:
      pixart batch prompts.txt -o posters/
      pixart batch posters/failed.txt
      pixart batch prompts.txt -o posters/ --engine ray --address 10.0.0.1:6379
    """
    _call(context, options.refine_of(refine, draft=draft, direct=direct)).do(context.params)


def _call(context: typer.Context, refine: str | None) -> _Call:
    """What the command line says, checked."""
    from pixart_cli.cli.batch_source import PromptSource, format_of, parse_shard

    said = context.params
    typed = {key: value for key, value in said.items() if key not in _OWN}
    typed |= {"lora": tuple(said["lora"] or ()) or None, "refine": refine}
    door, shard = door_of(context), parse_shard(said["shard"])
    engine = EngineWish.of(said)
    prompts = PromptSource(said["source"], format_of(said["format"]), said["sample"])
    from pixart_cli.features.batch.resolve import Resolver

    _set_up(door.printer, lay_over(typed, cwd=here()))

    def obtain(settings: Settings) -> None:
        if not said["check"]:
            obtain_loras(door.printer, settings.values["lora"], settings.values)

    resolver = Resolver(typed, cwd=here(), obtain=obtain)
    return _Call(door, resolver, prompts, typed, shard=shard, engine=engine)


def _set_up(printer: Printer, settings: Settings) -> None:
    if printer.as_events and settings.values["json"]:
        what = "--json and --json-stream are two ways to say it"
        raise PixartError("usage", what, "Say one of them.")
    printer.as_json |= settings.values["json"] and not printer.as_events
    printer.quiet = settings.values["quiet"]
    printer.print0 = settings.values["print0"]
    for warning in settings.warnings:
        printer.warn(warning)


class _Call:
    """What one call of the command is to do."""

    def __init__(
        self,
        door: Door,
        resolver: Resolver,
        prompts: PromptSource,
        typed: Mapping[str, Any],
        *,
        shard: tuple[int, int],
        engine: EngineWish,
    ) -> None:
        self.door, self.printer, self.resolver, self.prompts = door, door.printer, resolver, prompts
        self.typed, self.shard, self.engine = typed, shard, engine
        self.values = resolver.settings.values
        self._models: tuple[str, ...] = (resolver.model,)

    def _batch(self, report: Report | None = None, *, fail_fast: bool = False) -> Batch:
        from pixart_cli.features.batch.run import Batch

        return Batch(
            self.resolver, typed=self.typed, shard=self.shard, force=self.values["force"],
            fail_fast=fail_fast,
            source=self.prompts.path,
            on_tally=report.tallied if report else lambda _tally: None,
        )  # fmt: skip

    def do(self, said: Mapping[str, Any]) -> None:
        """What the options `said` ask for: a look at the list, or its pictures."""
        if said["check"] or self.values["dry_run"]:
            show(self.printer, self._batch().plan(self.prompts.jobs()), self._named)
        else:
            self.draw(exclusive=said["exclusive"], fail_fast=said["fail_fast"], exact=said["exact"])

    def draw(self, *, exclusive: bool, fail_fast: bool, exact: bool) -> None:
        """Draw what is missing.

        Raises:
            PixartError: "batch-partial" when some pictures failed; what stops a batch.
        """
        from pixart_cli.features.batch.occupancy import occupied
        from pixart_cli.features.generate import try_folders

        report = Report(self.printer, self.values, self._named)
        batch = self._batch(report, fail_fast=fail_fast)
        self._survey(batch)
        try_folders([self.resolver.folder / "x"])
        self.resolver.store.check()
        with (
            occupied(self.resolver.folder, exclusive=exclusive),
            report.shown(batch.tally, self.prompts.name),
            self.door.watch.deferred(_STOPPING),
        ):
            self._run(batch, report, exact=exact)
        report.finish(str(as_typed(batch.failures.path, self._typed_folder)))

    @property
    def _typed_folder(self) -> str | None:
        """The output, where that is on this machine's disks: names begin as it does."""
        from pixart_cli.features.batch.store import FOLDERS

        return self.values["output"] if self.resolver.store is FOLDERS else None

    def _named(self, task: Task, path: Path) -> Path | str:
        """What a picture is called: an URL in an object store."""
        from pixart_cli.features.batch.store import FOLDERS

        return as_typed(path, self.values["output"]) if task.store is FOLDERS else task.store.name(path)

    def _survey(self, batch: Batch) -> None:
        """Read the list to its end before anything is drawn, where it can be read twice."""
        found = self.prompts.survey(self.resolver)
        if found is None:
            return
        if self.shard[1] == 1:
            batch.tally.total = found.pictures
        else:
            batch.tally.total = sum(1 for _ in batch.plan(self.prompts.jobs()))
        self._models = found.models
        for model in found.models:
            with_weights(self.door, model, self.values)
            tell_of_tiny_encoder(self.printer, model, self.resolver.settings)
        if found.models == (BUILT_IN,) and self.resolver.settings.origins["model"] == "built-in":
            tell_of_better(self.printer)

    def _run(self, batch: Batch, report: Report, *, exact: bool) -> None:
        def pause() -> None:
            self.door.watch.check()
            batch.pause()

        engine = self._engine(batch, report, pause, exact=exact)
        with contextlib.closing(batch.run(self._jobs(), engine)) as events:
            for event in events:
                report.tell(event)

    def _engine(self, batch: Batch, report: Report, pause: Any, *, exact: bool) -> Engine:
        values = self.values
        if self.engine.name == "ray":
            return ray_engine(
                self.door, self.engine, self.resolver,
                models=self._models, pause=pause, together=not exact,
            )  # fmt: skip
        from pixart_cli.features.batch.local import LocalEngine

        def renderer_of(model: str, plan: Any, files: dict[str, Path]) -> Renderer:
            return renderer_for(self.door, model, plan, files, values, together=not exact)

        return LocalEngine(
            renderer_of, self.resolver.plan_of, force=values["force"], on_progress=report.step,
            pause=pause, begin=batch.begin,
        )  # fmt: skip

    def _jobs(self) -> Iterator[Any]:
        """The list's jobs; who sends it may take long, so meanwhile a signal is heeded at once."""
        jobs = self.prompts.jobs()
        while True:
            with self.door.watch.at_once():
                job = next(jobs, None)
            if job is None:
                return
            yield job
