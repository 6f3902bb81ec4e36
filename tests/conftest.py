"""Shared by all tests: no test touches the user's folders or the network, and a stand-in draws pictures."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.processes import PATIENCE
from tests.stand_in import StandIn

# Beside others, a process that takes every core slows all of them down; said before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no fault of the code: no test may fail for the time it took.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What runs in a shell's background, or under nohup, ignores these, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The libraries make half a million objects that stay: to search them for garbage is half of the time of a
# test that frees a network. So nothing is searched while they are imported, and they are not afterwards.


def pytest_configure() -> None:
    """Before test modules are imported."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests for several workers, each of which begins with a stretch of them and then helps others.

    Tests that share what takes long to make stand side by side, so that one worker makes it; the many quick
    ones come last, so that no worker ends with a long one.
    """
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if "four_processes" in getattr(item, "fixturenames", ()):
        return 0
    if item.get_closest_marker("exemplars"):
        return 1
    return 3 if "tests/core/" in item.path.as_posix() else 2


def pytest_collection_finish() -> None:
    """All test modules are imported, and with them the libraries."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folders are empty ones of this test, and nothing of the environment is inherited."""
    folder = tmp_path_factory.mktemp("user")
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"PIXART_{kind}_DIR", str(folder / kind.lower()))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "PIXART_DEBUG", "NO_COLOR", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole PixArt-Σ at toy size; tests that change it copy it first."""
    from tests.toy_model import build_toy_model

    return build_toy_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="session")
def toy_peers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SDXL and Stable Cascade at toy size, by the catalogue's name; see `toy_peers.install_peer`."""
    from tests.toy_peers import BUILDERS

    folder = tmp_path_factory.mktemp("peers")
    return {model: build(folder / model) for model, build in BUILDERS.items()}


@dataclass(frozen=True)
class Ran:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


Pixart = Callable[..., Ran]


@pytest.fixture
def stand_in() -> StandIn:
    """What `pixart` draws with in this test."""
    return StandIn()


@pytest.fixture
def pixart(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Pixart:
    """Run a command line in this process, in `tmp_path`, drawn by `stand_in`."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: ran(capfd, args, renderers=lambda model, plan: stand_in)


@pytest.fixture
def press(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Pixart:
    """Run a command line in this process, in `tmp_path`, drawn by the networks."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: ran(capfd, args)


def ran(capfd: pytest.CaptureFixture[str], args: Sequence[object], **options: Any) -> Ran:
    """What the command line `args` gave in this process."""
    from pixart_cli.cli.app import run

    capfd.readouterr()
    code = run([str(arg) for arg in args], **options)
    return Ran(code, *capfd.readouterr())


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a command line in a process of its own, in `tmp_path`, where streams and signals matter."""

    def command(*args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "pixart_cli", *map(str, args)]
        values = {
            "cwd": tmp_path,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "timeout": PATIENCE,
            "check": False,
        }
        if "input" not in options:
            values["stdin"] = subprocess.DEVNULL
        return subprocess.run(argv, **(values | options))  # noqa: PLW1510 -- among the values

    return command
