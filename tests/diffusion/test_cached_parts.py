"""Parts that a folder lacks, in the cache and on a hub on the loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixart_cli.core.components import SHARED
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.cached_parts import absent_shared
from pixart_cli.diffusion.pull import plan_parts, pull_parts
from pixart_cli.diffusion.records import read_record
from pixart_cli.diffusion.weights import locate
from tests.loopback_hub import Fault, LoopbackHub, Repos, go_online, lay, serving, toy_repos


@pytest.fixture(scope="module")
def repos(toy_folder: Path) -> Repos:
    return toy_repos(toy_folder)


@pytest.fixture
def hub(repos: Repos, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with serving({repo: dict(files) for repo, files in repos.items()}) as hub:
        go_online(monkeypatch, hub.address)
        yield hub


@pytest.fixture
def bare(toy_folder: Path, tmp_path: Path) -> Path:
    """A folder with a transformer and a VAE of its own."""
    folder = shutil.copytree(toy_folder, tmp_path / "mine")
    for component in ("tokenizer", "text_encoder"):
        shutil.rmtree(folder / component)
    return folder


def test_what_is_absent_is_fetched_and_the_folder_is_whole(hub: LoopbackHub, bare: Path) -> None:
    row, components = absent_shared(bare)
    assert (row.name, components) == ("sigma-256", ("tokenizer", "text_encoder"))
    plan = plan_parts(row, components, print)
    assert plan.bytes_to_fetch == sum({file.digest: file.size for file in plan.missing}.values()) > 0
    assert hub.fetched("") == 0
    pull_parts(plan, lambda _: None, print)
    assert absent_shared(bare)[1] == ()
    found = locate(str(bare))
    assert found.parts["vae"] == bare / "vae"
    assert [hub.fetched(name) for name in ("transformer/", "vae/", ".fp16.", ".bin")] == [0, 0, 0, 0]
    assert read_record("sigma-256") is None


def test_bytes_are_compared_with_the_hub(hub: LoopbackHub, bare: Path) -> None:
    hub.faults = [Fault("get", "flip", "text_encoder/model")]
    plan = plan_parts(*absent_shared(bare), print)
    with pytest.raises(PixartError, match="damaged"):
        pull_parts(plan, lambda _: None, print)
    assert "text_encoder" in absent_shared(bare)[1]
    hub.faults = []
    pull_parts(plan_parts(*absent_shared(bare), print), lambda _: None, print)
    assert absent_shared(bare)[1] == ()


def test_what_the_cache_has_is_not_absent(repos: Repos, bare: Path) -> None:
    lay(repos)
    assert absent_shared(bare)[1] == ()
    shutil.rmtree(bare / "vae")
    assert absent_shared(bare)[1] == ()


def test_a_folder_with_nothing_of_its_own_lacks_all(bare: Path) -> None:
    shutil.rmtree(bare / "vae")
    assert absent_shared(bare)[1] == SHARED
