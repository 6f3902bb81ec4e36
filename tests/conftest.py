"""Shared by all tests: no test touches the user's folders or the network, and a stand-in draws pictures."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pixart_cli.core.rendering import ProgressCallback, ProgressEvent, Rendering
from pixart_cli.core.request import GenerationRequest

# Beside others, a process that takes every core slows all of them down; said before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The libraries make half a million objects that stay: to search them for garbage is half of the time of a
# test that frees a network. So nothing is searched while they are imported, and they are not afterwards.
gc.disable()

# A busy machine is no fault of the code: no test may fail for the time it took.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What runs in a shell's background, or under nohup, ignores these, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


class StandIn:
    """A `Renderer` that needs no weights: stripes whose colours are the fingerprint of the request."""

    def __init__(
        self, *, shift: int = 0, facts: dict[str, Any] | None = None, fail_at: int | None = None
    ) -> None:
        self.shift = shift
        self.facts = {"device": "cpu", "torch": "0", **(facts or {})}
        self.fail_at = fail_at
        self.failure: BaseException = RuntimeError("the stand-in was told to fail")
        self.drawn: list[GenerationRequest] = []

    def render(
        self, requests: Sequence[GenerationRequest], *, on_progress: ProgressCallback
    ) -> Iterator[Rendering]:
        """One picture a request; raises `failure` instead of number `fail_at`."""
        on_progress(ProgressEvent(stage="load", step=1, total=1))
        for index, request in enumerate(requests):
            if index == self.fail_at:
                raise self.failure
            on_progress(ProgressEvent(stage="denoise", step=1, total=1, index=index))
            self.drawn.append(request)
            yield Rendering(
                pixels=self._picture(request), request=request, provenance=dict(self.facts), seconds=0.5,
                warnings=("mini was never taught: zeppelin",) if "zeppelin" in request.prompt else (),
            )  # fmt: skip

    def _picture(self, request: GenerationRequest) -> Any:
        from PIL import Image

        digest = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
        picture = Image.new("RGB", (len(digest), 1))
        picture.putdata([tuple((byte + self.shift) % 256 for _ in range(3)) for byte in digest])
        return picture.resize((request.width, request.height), Image.Resampling.NEAREST)


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
    from pixart_cli.cli.app import run

    monkeypatch.chdir(tmp_path)

    def command(*args: object) -> Ran:
        capfd.readouterr()
        code = run([str(arg) for arg in args], renderers=lambda model, plan: stand_in)
        return Ran(code, *capfd.readouterr())

    return command


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a command line in a process of its own, in `tmp_path`, where streams and signals matter."""

    def command(*args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "pixart_cli", *map(str, args)]
        values = {
            "cwd": tmp_path,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "timeout": 120,
            "check": False,
        }
        if "input" not in options:
            values["stdin"] = subprocess.DEVNULL
        return subprocess.run(argv, **(values | options))  # noqa: PLW1510 -- among the values

    return command
