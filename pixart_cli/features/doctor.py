"""The machine, the plan it leads to, and what would make it better: findings, each with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from pixart_cli.core import paths
from pixart_cli.core.catalog import BUILT_IN, catalog, default_model, get_model
from pixart_cli.core.encoder_bits import UNQUANTISED, bits_for
from pixart_cli.core.errors import PixartError
from pixart_cli.core.presets import all_presets
from pixart_cli.core.refine import AUTO
from pixart_cli.core.settings import lay_over
from pixart_cli.diffusion.device import Facts, Machine, plan, probe
from pixart_cli.diffusion.hub_cache import hub_cache
from pixart_cli.diffusion.quantisation import LIBRARY, check_library
from pixart_cli.diffusion.weights import locate, parameters_of

LIBRARIES: Final = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface-hub", "pillow", "numpy",
)  # fmt: skip
ROOM: Final = 25_000_000_000  # a PixArt-Σ with its T5 encoder, and pictures
_GIB: Final = 1 << 30
_REINSTALL: Final = "Install pixart again: pip install --force-reinstall pixart-cli"
_4K: Final = (3840, 2160)

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """One fact: "ok", a "note" that something could be better, or "broken", with what to do about it."""

    subject: str
    state: State
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings. Nothing is changed, no weights are loaded and the network is not touched.

    Raises:
        PixartError: "disk" where the folder it was started in is gone.
    """
    paths.here()  # torch's libraries end the process in a folder that is gone
    findings = [_python(), *_libraries(), *_quantiser()]
    machine = _machine(findings)
    if machine is not None:
        findings += [_devices(machine), _memory(machine)]
    findings += [_disk(hub_cache()), *_folders(), _own(_settings, "settings"), _own(_presets, "presets")]
    findings += _models()
    if machine is not None:
        findings += _plans(machine, {finding.subject for finding in findings if finding.state == "ok"})
    return findings


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} ({platform.system()} {platform.machine()})")


def _libraries() -> Iterator[Finding]:
    for name in LIBRARIES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "broken", "missing", _REINSTALL)


def _quantiser() -> Iterator[Finding]:
    """A finding where the library is installed, or is wanted; whoever does not quantise lacks nothing."""
    try:
        check_library(_bits())
        yield Finding(LIBRARY, "ok", f"{version(LIBRARY)}: --encoder-bits 8 and 4")
    except PixartError as error:
        yield Finding(LIBRARY, "broken", error.message, error.hint)
    except PackageNotFoundError:
        return


def _machine(findings: list[Finding]) -> Machine | None:
    try:
        return probe()
    except (ImportError, OSError) as error:  # a library of the system that torch needs may be missing too
        name = getattr(error, "name", None) or "torch"
        findings.append(Finding(name, "broken", f"cannot be loaded: {error}", _REINSTALL))
        return None


def _devices(machine: Machine) -> Finding:
    if machine.accelerators:
        return Finding("device", "ok", ", ".join(f"{a.device} ({a.name})" for a in machine.accelerators))
    cores = f"the processor, {machine.cores} threads"
    if "+cpu" in machine.torch_version and shutil.which("nvidia-smi"):
        remedy = "There is an NVIDIA driver: install torch with CUDA from pytorch.org."
        return Finding("device", "note", f"{cores}; this torch cannot use a GPU", remedy)
    return Finding("device", "ok", f"{cores}; no GPU was found")


def _memory(machine: Machine) -> Finding:
    text = f"{machine.free_memory_bytes / _GIB:.1f} of {machine.memory_bytes / _GIB:.1f} GiB free"
    if machine.free_memory_bytes < 2 * _GIB:
        return Finding("memory", "note", text, "Close other programs before drawing large pictures.")
    return Finding("memory", "ok", text)


def _disk(folder: Path) -> Finding:
    """Room in the models' cache, and whether it may be written."""
    there = _nearest(folder)
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free for models in {folder}"
    if not os.access(there, os.W_OK):
        remedy = "To download models set HF_HOME to a folder of yours."
        return Finding("disk", "note", f"{folder} cannot be written", remedy)
    if free < ROOM:
        remedy = "PixArt-Σ needs about 25 GB: free some space, or set HF_HOME to a larger disk."
        return Finding("disk", "note", text, remedy)
    return Finding("disk", "ok", text)


def _nearest(folder: Path) -> Path:
    """`folder`, or the first above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path(folder.anchor))


def _folders() -> Iterator[Finding]:
    folders = {"config": paths.config_dir(), "cache": paths.cache_dir(), "here": paths.here()}
    for kind, folder in folders.items():
        writable = _writable(_nearest(folder))
        state: State = "ok" if writable else "note"
        remedy = "" if writable else "Choose another folder with --output." if kind == "here" else _move(kind)
        size = f", {_size(folder) / 1e6:.1f} MB" if kind == "cache" else ""
        yield Finding(kind, state, f"{folder}{size}{'' if writable else ' cannot be written'}", remedy)


def _size(folder: Path) -> int:
    """Bytes of all files below `folder`; what cannot be looked at counts nothing, nor what goes meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _move(kind: str) -> str:
    return f"Set PIXART_{kind.upper()}_DIR to a folder of yours."


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _own(check: Callable[[], str], subject: str) -> Finding:
    """What the person wrote: a mistake in it stops every command that reads it."""
    try:
        return Finding(subject, "ok", check())
    except PixartError as error:
        return Finding(subject, "broken", error.message, error.hint)


def _settings() -> str:
    found = {origin for origin in lay_over({}).origins.values() if origin != "built-in"}
    return "from " + ", ".join(sorted(found)) if found else "nothing set but the defaults"


def _presets() -> str:
    return f"{len(all_presets())} presets"


def _models() -> Iterator[Finding]:
    """A finding for each model that is here or damaged, and one for all the rest."""
    absent = []
    for name in catalog():
        try:
            there = locate(name)
        except PixartError as error:
            if error.code == "model-missing" and name != BUILT_IN:
                absent.append(name)
            else:
                yield Finding(name, "broken", error.message, error.hint)
        else:
            yield Finding(name, "ok", f"whole, {there.size_bytes / 1e6:.0f} MB")
    if absent:
        remedy = f"pixart models pull {absent[0]} says how large the download is, and asks."
        yield Finding("models", "note", f"not on this machine: {', '.join(absent)}", remedy)


def _bits() -> int:
    """What files and variables say of the text encoder; what is wrong with them is another finding."""
    try:
        return int(lay_over({}).values["encoder_bits"])
    except PixartError:
        return UNQUANTISED


def _plans(machine: Machine, installed: set[str]) -> Iterator[Finding]:
    """What would happen to a 4K picture with the built-in model, and with the best one here."""
    width, height = _4K
    names = dict.fromkeys((BUILT_IN, default_model(installed & set(catalog()), width, height)))
    for name in names:
        try:
            known = Facts(parameters=parameters_of(name), encoder_bits=bits_for(_bits(), get_model(name)))
            found = plan(machine, get_model(name), width, height, refine=AUTO, facts=known)
        except PixartError as error:
            yield Finding("plan", "note", error.message, error.hint)
            continue
        time = "" if found.seconds_estimate is None else f", about {found.seconds_estimate:.0f} s of drawing"
        memory = f"about {found.estimate_bytes / _GIB:.1f} GiB"
        text = f"{name} at {width}x{height}: {found.device}, {found.dtype}, {memory}{time}; {found.words}"
        yield Finding("plan", "ok", text)
