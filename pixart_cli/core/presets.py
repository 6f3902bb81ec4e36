"""Presets: named starting points, one TOML file each. The user's own shadow those that ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pixart_cli.core import paths
from pixart_cli.core.errors import PixartError
from pixart_cli.core.options import PRESET_SETTINGS, Setting
from pixart_cli.core.toml_file import read_settings

_ABOUT: Final = ("title", "description", "group", "extends")
_ABOUT_SETTINGS: Final = {key: Setting(key=key, kind=str, help="about the preset") for key in _ABOUT}
_KEYS: Final = {**PRESET_SETTINGS, **_ABOUT_SETTINGS}


@dataclass(frozen=True)
class Preset:
    """One preset. `settings` are what its own file sets; :func:`get_preset` adds what it extends."""

    name: str
    title: str
    description: str
    group: str
    settings: Mapping[str, Any]
    source: Path
    extends: str | None = None


def all_presets(environ: Mapping[str, str] | None = None) -> dict[str, Preset]:
    """Every preset by name, in alphabetical order, resolved as :func:`get_preset` does.

    Raises:
        PixartError: "preset-invalid" naming file and line.
    """
    return {name: get_preset(name, environ) for name in sorted(_files(environ))}


def get_preset(name: str, environ: Mapping[str, str] | None = None) -> Preset:
    """The preset `name` with everything it extends laid under it.

    A user's preset may extend the shipped one of its own name.

    Raises:
        PixartError: "preset-unknown" with what may have been meant; "preset-invalid" naming file and line.
    """
    files = _files(environ)
    if name not in files:
        raise _unknown(name, files)
    chain = [_read(name, files[name][0])]
    while chain[-1].extends is not None:
        chain.append(_parent(chain, files))
    settings = {key: value for preset in reversed(chain) for key, value in preset.settings.items()}
    own = chain[0]
    group = next((preset.group for preset in chain if preset.group), "own")
    return Preset(own.name, own.title or own.name, own.description, group, settings, own.source, own.extends)


def _files(environ: Mapping[str, str] | None) -> dict[str, list[Path]]:
    """Candidates by name, the user's first."""
    found: dict[str, list[Path]] = {}
    for folder in (paths.user_presets_dir(environ), paths.presets_dir()):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, []).append(path)
    return found


def _read(name: str, path: Path) -> Preset:
    values = read_settings(path, _KEYS, code="preset-invalid")
    title, description, group, extends = (values.pop(key, "") for key in _ABOUT)
    return Preset(name, title, description, group, values, path, extends or None)


def _parent(chain: list[Preset], files: Mapping[str, list[Path]]) -> Preset:
    child = chain[-1]
    name = child.extends or ""
    if name not in files:
        raise _broken(child, f"extends {name!r}, which does not exist", files)
    seen = {preset.source for preset in chain}
    unseen = [path for path in files[name] if path not in seen]
    if not unseen:
        circle = " -> ".join([*(preset.name for preset in chain), name])
        raise PixartError("preset-invalid", f"{child.source}: extends itself: {circle}", "Break the circle.")
    return _read(name, unseen[0])


def _broken(child: Preset, what: str, files: Mapping[str, list[Path]]) -> PixartError:
    return PixartError("preset-invalid", f"{child.source}: {what}", _did_you_mean(child.extends or "", files))


def _unknown(name: str, files: Mapping[str, list[Path]]) -> PixartError:
    return PixartError("preset-unknown", f"no preset is named {name!r}", _did_you_mean(name, files))


def _did_you_mean(name: str, files: Mapping[str, list[Path]]) -> str:
    close = get_close_matches(name.lower(), list(files), n=2)
    if close:
        return "Did you mean " + " or ".join(repr(item) for item in close) + "?"
    return "See 'pixart presets list'."
