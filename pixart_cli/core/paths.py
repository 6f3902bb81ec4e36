"""Where things live on this machine. ``PIXART_CONFIG_DIR`` and its sisters move them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pixart_cli
from pixart_cli.core.errors import PixartError


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of ``config.toml`` and of the user's presets; it need not exist."""
    return _folder("config", environ)


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of what should outlive a run but is no setting; it need not exist."""
    return _folder("state", environ)


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of what can be thrown away; it need not exist. Weights are in the hub's cache instead."""
    return _folder("cache", environ)


def _folder(kind: str, environ: Mapping[str, str] | None) -> Path:
    typed = (os.environ if environ is None else environ).get(f"PIXART_{kind.upper()}_DIR")
    if typed:
        return expand_home(typed)
    import platformdirs

    path = getattr(platformdirs, f"user_{kind}_path")("pixart", appauthor=False)
    return Path(path)


def expand_home(text: str) -> Path:
    """`text` as a path, with a leading ``~`` as the shell would read it.

    Raises:
        PixartError: "config-invalid" where this user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        what = f"{text!r}: no home folder is known"
        raise PixartError("config-invalid", what, "Write the whole path.") from None


def here() -> Path:
    """The folder this process works in.

    Raises:
        PixartError: "disk" if it was removed or may not be looked at.
    """
    try:
        return Path.cwd()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        what = f"the folder pixart was started in cannot be used: {reason}"
        raise PixartError("disk", what, "Change to another folder.") from None


def user_presets_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the user's own presets; it need not exist."""
    return config_dir(environ) / "presets"


def presets_dir() -> Path:
    """The folder of the presets that ship with pixart: in the wheel's package, else beside it in a checkout.

    Raises:
        PixartError: "install-broken" if neither is there.
    """
    package = Path(pixart_cli.__file__).resolve().parent
    for folder in (package / "presets", package.parent / "presets"):
        if folder.is_dir():
            return folder
    what = "the presets are missing from the installation"
    raise PixartError("install-broken", what, "Install pixart again.")


def built_in_model_dir() -> Path:
    """The folder of the model that ships inside the package."""
    return Path(pixart_cli.__file__).resolve().parent / "models" / "mini"
