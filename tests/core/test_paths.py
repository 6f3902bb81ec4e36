"""Where things live, and what moves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pixart_cli.core import paths
from pixart_cli.core.errors import PixartError

Folder = Callable[[Mapping[str, str]], Path]
KINDS: list[tuple[str, Folder]] = [
    ("CONFIG", paths.config_dir), ("STATE", paths.state_dir), ("CACHE", paths.cache_dir),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "folder"), KINDS)
def test_a_variable_moves_each_folder(kind: str, folder: Folder, tmp_path: Path) -> None:
    assert folder({f"PIXART_{kind}_DIR": str(tmp_path / "x")}) == tmp_path / "x"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("kind", "folder"), KINDS)
def test_otherwise_the_platform_decides(kind: str, folder: Folder) -> None:
    assert folder({f"PIXART_{kind}_DIR": ""}) == folder({})
    assert "pixart" in folder({}).parts


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXART_STATE_DIR", "/somewhere")
    assert paths.state_dir() == Path("/somewhere")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert paths.cache_dir({"PIXART_CACHE_DIR": "~/c"}) == Path("/home/ann/c")


def test_an_unknown_home_is_a_sentence() -> None:
    with pytest.raises(PixartError) as caught:
        paths.expand_home("~no-such-user-here/x")
    assert caught.value.code == "config-invalid"


def test_a_working_folder_that_is_gone_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert paths.here() == folder
    folder.rmdir()
    with pytest.raises(PixartError, match="no such file") as caught:
        paths.here()
    assert caught.value.code == "disk"


def test_user_presets_are_beside_the_configuration(tmp_path: Path) -> None:
    assert paths.user_presets_dir({"PIXART_CONFIG_DIR": str(tmp_path)}) == tmp_path / "presets"


def test_what_ships_is_found() -> None:
    assert list(paths.presets_dir().glob("*.toml"))
    assert paths.built_in_model_dir().parts[-3:] == ("pixart_cli", "models", "mini")


def test_presets_inside_the_package_win_and_none_is_a_broken_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "pixart_cli"
    package.mkdir(parents=True)
    monkeypatch.setattr(paths.pixart_cli, "__file__", str(package / "__init__.py"))
    with pytest.raises(PixartError) as caught:
        paths.presets_dir()
    assert caught.value.code == "install-broken"
    (tmp_path / "site" / "presets").mkdir()
    assert paths.presets_dir() == tmp_path / "site" / "presets"
    (package / "presets").mkdir()
    assert paths.presets_dir() == package / "presets"
