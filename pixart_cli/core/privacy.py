"""Nothing about the person or the machine leaves with a picture: paths, user names and host names are cut."""

from __future__ import annotations

import dataclasses
import getpass
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.request import GenerationRequest

# Names that tell nothing of a person, and that facts such as "device: cpu" need.
_PUBLIC: Final = frozenset((
    "cpu", "cuda", "mps", "nvidia", "apple", "intel", "amd", "linux", "darwin", "windows", "torch", "root",
    "pixart", "mini", "sigma", "alpha", "sdxl", "cascade", "diffusers", "transformers", "python", "sdpa",
    "full", "low", "offload", "whole", "float32", "bfloat16", "float16",
))  # fmt: skip
_WHOLE_PATH: Final = re.compile(r"(?:~|/|\\\\|[A-Za-z]:[\\/])")
_URL_OR_PATH: Final = re.compile(
    r"(?P<url>https?://[^\s\"'<>]+)"
    r"|(?<![\w.~/\\-])(?:file:/|[A-Za-z]:|~[\w.-]*)?[\\/][^\s\"'<>|:;,()\[\]{}]+"
)


def scrub(value: Any) -> Any:
    """JSON data `value` with paths cut to their last name, and this user's and host's names replaced."""
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, dict):
        return {scrub_text(str(key)): scrub(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item) for item in value]
    return value


def scrub_text(text: str) -> str:
    """`text` without any absolute path, user name or host name; web addresses stay."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    for folder in _folders():
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![\w.-])", "~", text)
    if _WHOLE_PATH.match(text):
        text = last_name(text)
    text = _URL_OR_PATH.sub(lambda match: match["url"] or last_name(match[0]), text)
    for placeholder, names in (("<user>", _users()), ("<host>", _hosts())):
        for name in names:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", placeholder, text, flags=re.IGNORECASE)
    return text


def last_name(path: str) -> str:
    """The last name of `path`, of either system's spelling; "folder" where it has none."""
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1].lstrip("~") or "folder"


def public_request(request: GenerationRequest) -> GenerationRequest:
    """`request` as a picture records it: a model folder is named by its last name only."""
    model = request.model
    if model in (".", "..") or re.search(r"[\\/~]", model):
        model = scrub_text(last_name(str(_home_expanded(model).absolute())))
    model = model.encode("utf-8", "replace").decode("utf-8")
    return request if model == request.model else dataclasses.replace(request, model=model)


def _home_expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or no home folder
        return Path(path)


def _folders() -> list[str]:
    home = _home_expanded("~")
    found = {str(home), str(home.resolve())}
    with suppress(FileNotFoundError):  # the folder we were started in may be gone
        found.add(str(Path.cwd()))
    # Longest first, so that a folder inside the home folder goes whole.
    return sorted((folder for folder in found if len(folder) > 1), key=len, reverse=True)


def _users() -> list[str]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a bare container has no entry for its user id
        user = ""
    return _telling(user, _home_expanded("~").name)


def _hosts() -> list[str]:
    host = platform.node()
    return _telling(host, host.split(".")[0])


def _telling(*names: str) -> list[str]:
    return [name for name in names if len(name) > 2 and name.casefold() not in _PUBLIC]
