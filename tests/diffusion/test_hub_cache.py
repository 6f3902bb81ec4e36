"""The shared cache on disk: where it is, what leaves it, and who may change it."""

import os

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.diffusion.hub_cache import (
    as_disk_error,
    bytes_of,
    discard,
    free_bytes,
    hub_cache,
    locked,
    point_main_at,
    remove,
    repo_folder,
    snapshots,
)
from tests.loopback_hub import COMMIT, lay, toy_repos

OTHER = "f" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty shared cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


def test_the_cache_is_the_one_others_share(monkeypatch, tmp_path):
    assert hub_cache() == tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert str(hub_cache()) == "/elsewhere"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub_cache() == tmp_path / "huggingface" / "hub"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hub_cache().parts[-3:] == (".cache", "huggingface", "hub")


def test_main_comes_first_then_the_newest():
    base = repo_folder("acme/tiny")
    assert snapshots("acme/tiny") == []
    for number, name in enumerate((COMMIT, OTHER, "a" * 40)):
        (base / "snapshots" / name).mkdir(parents=True)
        os.utime(base / "snapshots" / name, (number, number))
    assert [path.name[0] for path in snapshots("acme/tiny")] == ["a", "f", "0"]
    point_main_at("acme/tiny", COMMIT, force=False)
    point_main_at("acme/tiny", OTHER, force=False)
    assert snapshots("acme/tiny")[0].name == COMMIT
    point_main_at("acme/tiny", OTHER, force=True)
    assert snapshots("acme/tiny")[0].name == OTHER


def test_a_discarded_file_takes_its_bytes_along(repos):
    file = lay(repos).files[0]
    blob = file.path.resolve()
    assert blob.parent.name == "blobs"
    discard(file.path)
    assert not file.path.is_symlink()
    assert not blob.exists()
    discard(file.path)  # nothing is left to do


def test_no_link_leads_a_removal_out_of_the_cache(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    link = repo_folder("acme/tiny") / "snapshots" / COMMIT / "a.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    discard(link)
    assert (link.is_symlink(), outside.read_text()) == (False, "mine")


def test_bytes_that_another_snapshot_links_to_stay(repos):
    first, second = lay(repos), lay(repos, commit=OTHER)
    paths = [file.path for file in first.files]
    assert bytes_of([*paths, *(file.path for file in second.files)]) == bytes_of(paths)
    remove(paths)
    assert all(file.is_whole() for file in second.files)
    assert not any(path.parent.exists() for path in paths)
    remove(file.path for file in second.files)
    assert not list(hub_cache().glob("models--*"))


def test_files_that_are_no_links_are_removed_too(repos):
    record = lay(repos)
    for file in record.files:  # as where no links can be made
        data = file.path.read_bytes()
        file.path.unlink()
        file.path.write_bytes(data)
    remove(file.path for file in record.files)
    assert not list(hub_cache().glob("models--*/snapshots/*"))


def test_a_lock_sweeps_what_a_killed_process_left_and_spares_what_lives(repos):
    from huggingface_hub.utils import WeakFileLock

    repo = catalog()["sigma-256"].parts["vae"].repo
    lay(repos)
    dead, alive = (repo_folder(repo) / "blobs" / f"{name}.1234abcd.incomplete" for name in ("dead", "alive"))
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    lock = hub_cache() / ".locks" / repo_folder(repo).name / "alive.lock"
    lock.parent.mkdir(parents=True)
    with WeakFileLock(lock), locked([repo], print):
        assert (dead.exists(), alive.exists()) == (False, True)


def test_space_is_that_of_the_nearest_folder_there_is():
    assert free_bytes() > 0
    assert not hub_cache().exists()


def test_the_disk_s_no_names_the_place():
    error = as_disk_error(OSError(28, "No space left on device", "/x/y"))
    assert (error.code, error.message) == ("disk", "cannot write /x/y: No space left on device")
    assert str(hub_cache()) in as_disk_error(OSError("no")).message
