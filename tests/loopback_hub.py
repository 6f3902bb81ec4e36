"""A small hub on the loopback that speaks what huggingface_hub asks, and goes wrong as it is told.

Two servers: the hub, and the store that large files are redirected to, another origin because of its port.
A :class:`Fault` says which requests go wrong, how, and how often.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.diffusion.hub_cache import point_main_at, repo_folder
from pixart_cli.diffusion.records import HubFile, Record
from pixart_cli.diffusion.sources import choose

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = "X-Amz-Signature=5ecre7"
PAGE = 4
# Seconds of silence that a client bears: enough on any machine, or few where silence is the point.
PATIENT, HASTY = 300, 1
HTML = b"<html><title>Welcome</title>Please log in to the Wi-Fi</html>"

Repos = dict[str, dict[str, bytes]]


@dataclass
class Fault:
    """What goes wrong with requests of one kind for paths that contain `name`, `times` times, -1 for always.

    `where` is "info", "tree", "head" (of a file at the hub) or "get" (of its bytes, at hub or store). `kind`:

    * "status": the answer `status` with `headers` and no more.
    * "html": the log-in page of a network, with status 200.
    * "reset", "cut": half of the body, then the connection is reset, or ends as if that were all.
    * "flip": the last byte is another one. "long": the body goes on and on, with no length announced.
    * "stall": half of the body, then nothing. "hold": half, `held` is set, the rest after `release`.
    """

    where: str
    kind: str
    name: str = ""
    times: int = -1
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    served: int = 0


class LoopbackHub:
    """`repos` by name, each a table of path and bytes. `asked` lists every request as method and path."""

    def __init__(self, repos: Repos, commit: str = COMMIT) -> None:
        self.repos, self.commit = repos, commit
        self.extra: dict[str, list[dict[str, Any]]] = {}  # rows of trees that lead nowhere
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.held, self.release, self.over = threading.Event(), threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.sent = 0
        self.servers = [_Server(("127.0.0.1", 0), _Handler) for _ in range(2)]
        for server in self.servers:
            server.hub = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def address(self) -> str:
        """For ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self.servers[0].server_port}"

    @property
    def store(self) -> str:
        """The other origin."""
        return f"http://127.0.0.1:{self.servers[1].server_port}"

    def fault_of(self, where: str, path: str) -> Fault | None:
        """The fault that this request meets, counted."""
        with self.lock:
            for fault in self.faults:
                if fault.where == where and fault.name in path and fault.times != fault.served:
                    fault.served += 1
                    return fault
        return None

    def fetched(self, name: str) -> int:
        """How many times the bytes of files whose path contains `name` were asked for."""
        kind = ("GET /resolve", "GET /store")
        return sum(name in path and path.startswith(kind) for path in self.asked)

    def close(self) -> None:
        """Stop serving."""
        self.over.set()
        self.release.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    hub: LoopbackHub
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed and leave in these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        words = url.path.strip("/").split("/")
        if "/resolve/" in url.path:
            shown, action = f"/resolve/{url.path}", self._resolve
        elif words[0] == "store":
            shown, action = url.path, self._store
        else:
            shown, action = self.path, self._api
        hub.asked.append(f"{self.command} {shown}")
        if token := self.headers.get("Authorization"):
            hub.tokens.append(f"{shown} {token}")
        action(url.path, parse_qs(url.query))

    do_HEAD = do_GET  # noqa: N815

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        words = path.strip("/").split("/")
        if words[:2] != ["api", "models"]:
            return self._send(404, b"{}")
        repo, where = "/".join(words[2:4]), "info" if words[4] == "revision" else "tree"
        if self._fails(where, path):
            return None
        hub = self.server.hub
        if repo not in hub.repos:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if words[5] not in ("main", hub.commit):
            return self._send(404, b'{"error": "no such rev"}', {"X-Error-Code": "RevisionNotFound"})
        if where == "info":
            return self._send(200, json.dumps({"id": repo, "sha": hub.commit}).encode())
        return self._tree(repo, int(query.get("cursor", ["0"])[0]))

    def _tree(self, repo: str, start: int) -> None:
        hub = self.server.hub
        rows = [_row(name, data) for name, data in hub.repos[repo].items()] + hub.extra.get(repo, [])
        folders = {row["path"].rpartition("/")[0] for row in rows} - {""}
        rows += [{"type": "directory", "path": folder, "oid": "0" * 40} for folder in sorted(folders)]
        address = f"{hub.address}/api/models/{repo}/tree/{hub.commit}?recursive=true&cursor={start + PAGE}"
        more = {"Link": f'<{address}>; rel="next"'} if start + PAGE < len(rows) else {}
        self._send(200, json.dumps(rows[start : start + PAGE]).encode(), more)

    def _resolve(self, path: str, _: dict[str, list[str]]) -> None:
        hub = self.server.hub
        repo, _, rest = path.strip("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        if self._fails("head" if self.command == "HEAD" else "get", path):
            return
        if commit not in ("main", hub.commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        if name not in hub.repos[repo]:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": hub.commit})
            return
        row = _row(name, hub.repos[repo][name])
        headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{row["oid"]}"'}
        if "lfs" in row:
            headers |= {"X-Linked-Etag": f'"{row["lfs"]["oid"]}"', "X-Linked-Size": str(row["size"])}
            self._send(302, b"", headers | {"Location": f"{hub.store}/store/{repo}/{name}?{SIGNATURE}"})
        else:
            self._send_file(path, hub.repos[repo][name], headers)

    def _store(self, path: str, _: dict[str, list[str]]) -> None:
        if not self._fails("get", path):
            words = path.strip("/").split("/")
            repo, name = "/".join(words[1:3]), "/".join(words[3:])
            self._send_file(path, self.server.hub.repos[repo][name], {})

    def _send_file(self, path: str, data: bytes, headers: dict[str, str]) -> None:
        begin = self.headers.get("Range", "")
        if begin:
            first = int(begin.removeprefix("bytes=").partition("-")[0])
            span = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            self._send(206, data[first:], headers | span)
        else:
            self._send(200, data, headers)

    def _fails(self, where: str, path: str) -> bool:
        hub = self.server.hub
        fault = hub.fault_of(where, path)
        if fault is None:
            return False
        if fault.kind == "status":
            self._send(fault.status, b'{"error": "told to"}', dict(fault.headers))
        elif fault.kind == "html":
            self._send(200, HTML, {"Content-Type": "text/html"})
        else:
            repo, name = _place(path) if where == "get" else ("", "")
            self._spoil(fault, hub.repos[repo][name] if where == "get" else b"[]")
        return True

    def _spoil(self, fault: Fault, data: bytes) -> None:
        hub, length = self.server.hub, {"Content-Length": str(len(data))}
        self.close_connection = True
        if fault.kind == "flip":
            self._send(200, data[:-1] + bytes([data[-1] ^ 1]))
            return
        self.send_response(200)
        for key, value in (length if fault.kind != "long" else {"Connection": "close"}).items():
            self.send_header(key, value)
        self.end_headers()
        if fault.kind == "long":
            for _ in range(256):
                self.wfile.write(bytes(1 << 20))
                hub.sent += 1 << 20
            return
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        if fault.kind == "hold":
            hub.held.set()
            hub.release.wait(PATIENT)
            self.wfile.write(data[len(data) // 2 :])
        elif fault.kind == "stall":
            hub.over.wait(PATIENT)
        elif fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _place(path: str) -> tuple[str, str]:
    """Repository and file of the path of a file's bytes."""
    if "/resolve/" in path:
        repo, _, rest = path.strip("/").partition("/resolve/")
        return repo, rest.partition("/")[2]
    words = path.strip("/").split("/")
    return "/".join(words[1:3]), "/".join(words[3:])


def _row(name: str, data: bytes) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    row: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git}
    if name.endswith((".safetensors", ".bin")):
        sha256 = hashlib.sha256(data).hexdigest()
        row["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
    return row


def toy_repos(toy_folder: Path) -> Repos:
    """The toy as sigma-256 and sigma-512, its text encoder in two shards; and files that nobody wants."""
    repos: Repos = {}
    for model, side in (("sigma-256", 32), ("sigma-512", 64)):
        for component, part in catalog()[model].parts.items():
            files = repos.setdefault(part.repo, {})
            for path in sorted((toy_folder / component).iterdir()):
                files[f"{component}/{path.name}"] = path.read_bytes()
            if component == "transformer":
                config = json.loads(files["transformer/config.json"]) | {"sample_size": side}
                files["transformer/config.json"] = json.dumps(config).encode()
    for files in repos.values():
        for name in [name for name in files if name.endswith(".safetensors")]:
            files[name.replace(".safetensors", ".fp16.safetensors")] = b"half as long, and not wanted"
            files[name.replace(".safetensors", ".bin")] = b"a pickle"
        files["README.md"] = b"# A model"
        if "text_encoder/model.safetensors" in files:
            _shard(files)
    return repos


def _shard(files: dict[str, bytes]) -> None:
    from safetensors.torch import load, save

    tensors, stem = load(files.pop("text_encoder/model.safetensors")), "model-0000{}-of-00002.safetensors"
    names = sorted(tensors)
    halves = {stem.format(1): names[: len(names) // 2], stem.format(2): names[len(names) // 2 :]}
    for name, keys in halves.items():
        files[f"text_encoder/{name}"] = save({key: tensors[key] for key in keys}, {"format": "pt"})
    table = {key: name for name, keys in halves.items() for key in keys}
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    files["text_encoder/model.safetensors.index.json"] = json.dumps(index).encode()


def lay(repos: Repos, model: str = "sigma-256", commit: str = COMMIT) -> Record:
    """Put `model` into the cache of this process as huggingface_hub would; gives, unwritten, its record."""
    files: dict[Any, HubFile] = {}
    parts = {}
    for component, part in catalog()[model].parts.items():
        rows = [_hub_file(part.repo, commit, _row(name, data)) for name, data in repos[part.repo].items()]
        chosen = choose(component, part, rows)
        parts[component] = (part.repo, commit)
        files |= {file.key: file for file in chosen}
    for file in files.values():
        blob = repo_folder(file.repo) / "blobs" / file.digest.partition(":")[2]
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(repos[file.repo][file.name])
        file.path.parent.mkdir(parents=True, exist_ok=True)
        if not file.path.is_symlink():
            file.path.symlink_to(os.path.relpath(blob, file.path.parent))
        point_main_at(file.repo, commit, force=True)
    record = Record(model, parts, tuple(files.values()), dict.fromkeys(files, "checked"))
    return record.verified_now()


def _hub_file(repo: str, commit: str, row: dict[str, Any]) -> HubFile:
    digest = f"sha256:{row['lfs']['oid']}" if "lfs" in row else f"git-sha1:{row['oid']}"
    return HubFile(repo, commit, row["path"], row["size"], digest)


@contextmanager
def serving(repos: Repos, commit: str = COMMIT) -> Iterator[LoopbackHub]:
    """A hub that holds `repos`, as long as it is needed."""
    hub = LoopbackHub(repos, commit)
    try:
        yield hub
    finally:
        hub.close()


def online(hub: LoopbackHub | str, **more: str) -> dict[str, str]:
    """The environment of a child that may use `hub`, or the address `hub`; it is patient."""
    address = hub if isinstance(hub, str) else hub.address
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_DEBUG"):
        kept.pop(name, None)
    here = {
        "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(PATIENT), "HF_HUB_ETAG_TIMEOUT": str(PATIENT),
    }  # fmt: skip
    return kept | here | more


def go_online(monkeypatch: pytest.MonkeyPatch, address: str, patience: int = PATIENT) -> None:
    """Let the client of this process, which read its environment long ago, use the hub at `address`."""
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    values = {
        "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_DOWNLOAD_TIMEOUT": patience,
        "HF_HUB_ETAG_TIMEOUT": patience,
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", address)
    close_session()


PULL = (sys.executable, "-m", "pixart_cli", "models", "pull", "sigma-256", "--yes")
