"""Whatever the hub, the way to it or its client's libraries answer, as one sentence with a way out.

huggingface_hub raises errors of its own, of its HTTP library (httpx, httpx2 since version 2: no OSErrors, and
no class that both share), of JSON and of the disk. They are told apart by name and status here, and nowhere
else. Tokens, credentials of proxies and signed queries are cut out of everything that is said.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any, Final
from urllib.parse import urlsplit

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.hub_cache import as_disk_error

HUB: Final = "https://huggingface.co"
_SECRETS: Final = re.compile(r"hf_[A-Za-z0-9]{8,}|(?<=\?)[^\s'\"]+|(?<=//)[^/@\s]+@")
_CLIENTS: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub"})
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_BROKEN_OFF: Final = frozenset({"ReadError", "WriteError"})
_UNREACHED: Final = frozenset({"ConnectError", "ConnectTimeout", "ProxyError"})
_AGAIN: Final = "Run the command again: files that are whole are kept."
_CHECK: Final = "Check the connection (and HTTPS_PROXY and HF_ENDPOINT if you use them), then run it again."


class NotAHubError(Exception):
    """An answer that no hub gives."""


class RevisionGoneError(PixartError):
    """The "download-failed" error of a commit that was there once."""


def endpoint() -> str:
    """The hub's address: ``HF_ENDPOINT``, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def without_secrets(text: str) -> str:
    """`text` without tokens, credentials in addresses, and queries, which may be signed."""
    return _SECRETS.sub("…", text)


def failed(repo: str, why: str, hint: str = _AGAIN) -> PixartError:
    """The "download-failed" error of `repo`."""
    return PixartError("download-failed", f"{repo} could not be fetched: {without_secrets(why)}", hint)


@contextmanager
def translated(repo: str) -> Iterator[None]:
    """Within, what the client of the hub raises becomes a `PixartError`; bugs stay what they are.

    Raises:
        PixartError: "download-failed", or "disk" when the cache cannot be written.
    """
    try:
        yield
    except PixartError:
        raise
    except Exception as error:
        told = _told(repo, root_of(error))
        if told is None:
            raise
        raise told from None


def root_of(error: BaseException) -> BaseException:
    """What really happened: "not in the cache either" is how the client wraps it."""
    while type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_passing(error: BaseException) -> bool:
    """Whether another try may well succeed, and the client has made none itself.

    A hub that is busy, a connection that was reset, a file cut short, a link to the store that has expired.
    What the client wraps it has tried several times.
    """
    if root_of(error) is not error:
        return False
    status = status_of(error)
    if status is not None:
        return status in _BUSY or (status in (400, 401, 403) and not _is_of_hub(error))
    return type(error).__name__ in _BROKEN_OFF or _is_short(error)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of `error`, None if the hub did not answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def retry_after(error: BaseException) -> float | None:
    """The seconds that the hub asks to wait, at most a minute; None where it does not say."""
    headers = getattr(getattr(root_of(error), "response", None), "headers", {})
    text = str(headers.get("Retry-After", ""))
    return min(float(text), 60.0) if text.isdecimal() else None


def reason(error: BaseException) -> str:
    """A few words on an error that may pass."""
    status = status_of(root_of(error))
    return f"the hub answered {status}" if status is not None else "the connection broke off"


def _is_of_hub(error: BaseException) -> bool:
    """Whether the answer came from the hub itself, not from the store that it sends large files from."""
    url = getattr(getattr(error, "response", None), "url", "")
    return urlsplit(str(url)).netloc == urlsplit(endpoint()).netloc


def _is_short(error: BaseException) -> bool:
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def _told(repo: str, error: BaseException) -> PixartError | None:
    """`error` as a sentence; None for a bug."""
    if status_of(error) is not None:
        return _answered(repo, error)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return as_disk_error(error)
    if _is_short(error):
        return failed(repo, "a file has another length than the hub says")
    name, ours = type(error).__name__, type(error).__module__.partition(".")[0] in _CLIENTS
    if ours and name in ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError"):
        return failed(repo, f"HF_ENDPOINT is no web address: {endpoint()}", "Write it as https://host/path.")
    if ours and (name in _UNREACHED or name.endswith("Timeout")):
        return _unreached(repo, error)
    if isinstance(error, (NotAHubError, JSONDecodeError, UnicodeError)) or name == "FileMetadataError":
        return _no_hub(repo)
    if ours or isinstance(error, OSError):
        return failed(repo, f"the connection broke off ({_line(error)})", _CHECK)
    return None


def _answered(repo: str, error: Any) -> PixartError:
    """The hub said no, and why."""
    name, status, where = type(error).__name__, status_of(error), _shown(endpoint())
    if name == "GatedRepoError":
        return failed(
            repo, "it is gated, and its licence was not accepted with your account",
            f"Accept it at {where}/{repo}, then log in: `hf auth login`, or set HF_TOKEN.",
        )  # fmt: skip
    if status == 401 and "credentials" in str(error.response.headers.get("X-Error-Message")):
        return failed(repo, "the hub does not accept your token", "Renew it: `hf auth login`, or HF_TOKEN.")
    if name == "RepositoryNotFoundError" or status == 401:
        hint = "Look at HF_ENDPOINT if you use a mirror, and at HF_TOKEN if the repository is private."
        return failed(repo, f"{where} has no such repository, or does not show it to you", hint)
    if name == "RevisionNotFoundError":
        what = f"{repo} could not be fetched: {where} does not have this revision"
        return RevisionGoneError("download-failed", what, "Look at HF_ENDPOINT if you use a mirror.")
    if name == "RemoteEntryNotFoundError":
        return failed(repo, "the hub lists a file that it does not have", _CHECK)
    if status in _BUSY:
        return failed(repo, f"{where} answers {status}: it is busy or down", "Run it again later.")
    return failed(repo, f"{where} answers {status}", _CHECK)


def _unreached(repo: str, error: BaseException) -> PixartError:
    """No answer: a proxy, a certificate, a name, a silence."""
    text, where = _line(error), _shown(endpoint())
    if (proxy := _proxy(os.environ)) and type(error).__name__ in _UNREACHED:
        variable, address = proxy
        hint = f"Correct or unset {variable}, or add the hub to NO_PROXY."
        return failed(repo, f"the proxy {address} of {variable} does not connect to it", hint)
    if "CERTIFICATE" in text.upper():
        late = "not yet valid" in text or "expired" in text
        hint = "Set this machine's clock." if late else "Name your network's certificates in SSL_CERT_FILE."
        return failed(repo, f"the certificate of {where} is not accepted ({text})", hint)
    if type(error).__name__.endswith("Timeout"):
        return failed(repo, f"{where} stopped answering", _CHECK)
    return failed(repo, f"{where} cannot be reached ({text})", _CHECK)


def _no_hub(repo: str) -> PixartError:
    where = _shown(endpoint())
    hint = "Log in to the network in a browser if it asks for that; look at HF_ENDPOINT if you use a mirror."
    return failed(repo, f"what answers at {where} is not a hub (a log-in page, perhaps)", hint)


def _proxy(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names the proxy in use, and the proxy's address without credentials."""
    from urllib.request import proxy_bypass

    parts = urlsplit(endpoint())
    if proxy_bypass(parts.netloc):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if environ.get(variable):
                return variable, _shown(environ[variable])
    return None


def _shown(address: str) -> str:
    """An address without user name, password and query."""
    return without_secrets(address)


def _line(error: BaseException) -> str:
    """The first line of `error`, fit to be shown."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_secrets(lines[0])[:200]
