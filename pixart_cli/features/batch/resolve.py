"""A prompt of a list, and what the command says → pictures: every value set, every name known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pixart_cli.core import prompt_list
from pixart_cli.core.errors import PixartError
from pixart_cli.core.privacy import public_request
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.settings import (
    NO_INPUTS,
    Inputs,
    Job,
    Settings,
    check_prompt,
    lay_over,
    resolve_requests,
)
from pixart_cli.core.template import Naming
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.quantisation import check_library
from pixart_cli.diffusion.weights import installed_models, locate
from pixart_cli.features.batch.bucket import target_of
from pixart_cli.features.batch.engine import Task
from pixart_cli.features.batch.planning import Planner
from pixart_cli.features.batch.publishing import places
from pixart_cli.features.batch.store import Store
from pixart_cli.features.generate import gather

INDEX_DIGITS: Final = 6
_REMEMBERED: Final = 1024  # different sets of options


@dataclass(frozen=True)
class _Spoken:
    """What one set of options comes to, for any prompt."""

    settings: Settings
    model: str
    inputs: Inputs
    files: Mapping[str, Path]
    naming: Naming
    store: Store


def _nothing(_settings: Settings) -> None:
    """What is here is enough."""


class Resolver:
    """Makes pictures of prompts. What one set of options comes to is worked out once.

    A prompt's own options win over what was typed for the whole batch, and both over files and environment.

    Args:
        typed: the settings of the command line, by key; None means "not typed".
        cwd: where relative names start.
        obtain: sees to it that what one set of options names is here, before it is read.

    Raises:
        PixartError: as `settings.lay_over`; "output-invalid" for an output that holds one picture alone; as
            `generate.gather` for what the command line names.
    """

    def __init__(
        self, typed: Mapping[str, Any], *, cwd: Path, obtain: Callable[[Settings], None] = _nothing
    ) -> None:
        self._obtain = obtain
        self._typed = {key: value for key, value in typed.items() if value is not None}
        self._cwd = cwd
        self.settings = lay_over(self._typed, cwd=cwd)
        naming, self.store = self._naming(self.settings.values["output"])
        self.naming = _check_naming(naming)
        self._installed = installed_models()
        self._models: dict[str, str] = {}  # by the name that pictures record
        self._spoken = lru_cache(_REMEMBERED)(self._speak)
        self.weights_of = lru_cache(_REMEMBERED)(_weights_of)
        if _names_files(self.settings):
            self._gather(self.settings)
        values = self.settings.values
        self._planner = Planner(
            device=values["device"], memory=values["memory"], compiled=values["torch_compile"]
        )

    @property
    def folder(self) -> Path:
        """The folder that the pictures are in or below, and where a batch keeps its own files."""
        return self.naming.folder

    @property
    def model(self) -> str:
        """What draws a prompt that names no model."""
        return self._spoken(()).model

    def tasks(self, entry: prompt_list.Job, index: int) -> list[Task]:
        """The pictures of one prompt, `index` being the place of the first in the whole list, from 0.

        Raises:
            PixartError: for every mistake in the request, naming line and list.
        """
        with _told_of(entry):
            spoken = self._spoken(tuple(sorted(entry.options.items())))
            jobs = self._jobs(entry.prompt, spoken.settings, spoken.inputs)
            return [self._task(replace(job, index=index + job.index), entry, spoken) for job in jobs]

    def survey(self, entry: prompt_list.Entry) -> tuple[int, str]:
        """How many pictures each combination of a prompt asks for, and of which model, without making them.

        An init image is not looked for: there may be one a prompt.

        Raises:
            PixartError: as `tasks`.
        """
        options = dict(entry.options)
        if options.pop("init_image", None) is not None:
            options["strength"] = None  # of a picture to start from, which is not looked for
        with _told_of(entry):
            check_prompt(entry.prompt.pick(0))
            spoken = self._spoken(tuple(sorted(options.items())))
        return spoken.settings.values["count"], spoken.model

    def _jobs(self, prompt: str, settings: Settings, inputs: Inputs) -> list[Job]:
        if settings.values["seed"] is None:
            settings = Settings({**settings.values, "seed": seed_of(prompt)}, settings.origins)
        return resolve_requests(settings, [prompt], installed=self._installed, inputs=inputs)

    def _task(self, job: Job, entry: prompt_list.Job, spoken: _Spoken) -> Task:
        request, values = job.request, spoken.settings.values
        fingerprint = public_request(request).fingerprint
        path = spoken.naming.path(job)
        return Task(
            job=job,
            entry=entry,
            fingerprint=fingerprint,
            paths=places(path, fingerprint),
            metadata=values["metadata"],
            files=spoken.files,
            store=spoken.store,
        )

    def _speak(self, options: tuple[tuple[str, Any], ...]) -> _Spoken:
        own = dict(options)
        settings = lay_over({**self._typed, **own}, cwd=self._cwd)
        naming, store = self.naming, self.store
        if settings.values["output"] != self.settings.values["output"]:
            naming, store = self._naming(settings.values["output"])
        if settings.values["metadata"] == "none":
            _check_known_by_name(settings.values["output"])
        inputs, files = self._gather(settings) if _names_files(settings) else (NO_INPUTS, {})
        sample = self._jobs("x", settings, inputs)[0].request
        self._check_names(sample)
        check_library(sample.text_encoder_bits)
        return _Spoken(settings, sample.model, inputs, files, naming, store)

    def _gather(self, settings: Settings) -> tuple[Inputs, Mapping[str, Path]]:
        self._obtain(settings)
        return gather(settings)

    def _check_names(self, request: GenerationRequest) -> None:
        """Refuse a second model of one name: pictures know the folder of their model by its last name."""
        name, model = public_request(request).model, request.model
        here = model if name == model else str(Path(model).expanduser().resolve())
        other = self._models.setdefault(name, here)
        if other != here:
            what = f"{other} and {here} have one last name, by which a picture knows its model"
            raise PixartError("request-invalid", what, "Rename one of the folders, or draw in two batches.")

    def _naming(self, output: str | None) -> tuple[Naming, Store]:
        target = target_of(output, self._cwd)
        return Naming(target.output, cwd=target.folder, digits=INDEX_DIGITS), target.store

    def plan_of(self, task: Task) -> MemoryPlan:
        """How this machine draws `task`.

        Raises:
            PixartError: "size-invalid" for a picture larger than its memory, "device-unavailable".
        """
        with _told_of(task.entry):
            return self._planner.plan_of(task.request)


def _weights_of(model: str) -> str | None:
    """What a picture that is drawn now would say of its weights; None where they are not here."""
    try:
        return locate(model).revision
    except PixartError:
        return None


@contextmanager
def _told_of(entry: prompt_list.Job | prompt_list.Entry) -> Iterator[None]:
    """Within, an error names the prompt's list and line."""
    try:
        yield
    except PixartError as error:
        place = f"{entry.source}:{entry.line}"
        if error.message.startswith(place):
            raise
        raise PixartError(error.code, f"{place}: {error.message}", error.hint) from error


def _names_files(settings: Settings) -> bool:
    return bool(settings.values["lora"]) or settings.values["init_image"] is not None


def _check_naming(naming: Naming) -> Naming:
    if naming.to_stdout:
        hint = "Name a folder, as 'out/', or a template, as '{slug}-{seed}.png'."
        raise PixartError("output-invalid", "the pictures of a batch do not fit into standard output", hint)
    if not naming.has_fields:
        hint = "Name a folder, as 'out/', or a template, as '{slug}-{seed}.png'."
        raise PixartError("output-invalid", "the pictures of a batch do not fit into one file", hint)
    return naming


def _check_known_by_name(output: str | None) -> None:
    """A picture that says nothing of itself is found again by its name alone, which must be its own."""
    if "{fingerprint" not in (output or ""):
        what = "without metadata a picture of a batch is known by its name, which must hold {fingerprint}"
        raise PixartError(
            "output-invalid", what, "Add -o '{slug:60}-{fingerprint:16}.png', or --metadata minimal."
        )


def seed_of(prompt: str) -> int:
    """The seed of a prompt that was given none: the same in every list, order and run."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8")).digest()[:4], "big")


def in_shard(fingerprint: str, shard: tuple[int, int]) -> bool:
    """Whether the picture is one of part I of N. Each is of exactly one, wherever it stands in a list.

    Parts may be counted from 0 or from 1: N of N is 0 of N.
    """
    part, parts = shard
    return int(fingerprint, 16) % parts == part % parts
