"""Fetching from a hub on the loopback, in a child: huggingface_hub reads its environment at import."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEC = catalog()["sigma-256"]
CHILD = """
import json, sys
from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub
told = []
try:
    size = hub.download_size(catalog()["sigma-256"])
    tell = lambda event: told.append((event.stage, event.step, event.total))
    found = hub.fetch(catalog()["sigma-256"], tell)
    again = hub.download_size(catalog()["sigma-256"])
    print(json.dumps({"size": size, "revision": found.revision, "told": told, "again": again}))
except PixartError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""


class LoopbackHub(BaseHTTPRequestHandler):
    """The few requests of huggingface_hub that a download needs; `fault` says what goes wrong."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.fault == "html":
            return self.answer(200, b"<html>Please log in to the Wi-Fi</html>", {"Content-Type": "text/html"})
        if "/api/models/" in self.path:
            return self.answer(*self.listing(), {"Content-Type": "application/json"})
        return self.resolve()

    do_HEAD = do_GET  # noqa: N815

    def listing(self):
        if self.server.fault == "gone":
            return 404, b'{"error": "Repository not found hf_abcdefghijkl"}'
        repo = "/".join(self.path.split("/")[3:5])
        siblings = [self.sibling(name, data) for name, data in self.server.repos[repo].items()]
        return 200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()

    def sibling(self, name, data):
        lfs = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
        return {"rfilename": name, "size": len(data)} | (
            {"lfs": lfs} if name.endswith(".safetensors") else {}
        )

    def resolve(self):
        repo, _, rest = self.path[1:].partition("/resolve/")
        name = rest.partition("/")[2]
        data = self.server.repos[repo][name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        if self.server.fault == "flip" and name.endswith("transformer/diffusion_pytorch_model.safetensors"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        return self.answer(200, data, headers)

    def answer(self, status, body, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def server(toy_folder):
    """A hub that holds the toy as sigma-256, and pickles nobody should want."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), LoopbackHub)
    server.fault, server.asked, server.repos = "", [], {}
    for component, part in SPEC.parts.items():
        files = server.repos.setdefault(part.repo, {})
        for path in (toy_folder / component).iterdir():
            files[f"{component}/{path.name}"] = path.read_bytes()
        files[f"{component}/pytorch_model.bin"] = b"never"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(server, home, **environ):
    environment = {
        k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")
    }
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **environ,
    }  # fmt: skip
    done = subprocess.run(
        check=False,
        args=[sys.executable, "-c", CHILD],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_fetches_what_is_needed_and_nothing_else(server, tmp_path):
    answer, stderr = fetch(server, tmp_path)
    wanted = [
        data for files in server.repos.values() for name, data in files.items() if not name.endswith(".bin")
    ]
    assert answer["size"] == sum(map(len, wanted))
    assert answer["again"] == 0
    assert answer["revision"] == COMMIT
    assert answer["told"][-1] == ["fetch", answer["size"], answer["size"]]
    assert [event[1] for event in answer["told"]] == sorted(event[1] for event in answer["told"])
    assert not [path for path in server.asked if path.endswith(".bin")]
    assert not list(tmp_path.rglob("*.bin"))
    assert stderr == ""
    mains = {path.read_text() for path in tmp_path.glob("hub/models--*/refs/main")}
    assert mains == {COMMIT}


def test_a_flipped_byte_is_found_and_thrown_away(server, tmp_path):
    server.fault = "flip"
    answer, _ = fetch(server, tmp_path)
    assert answer["code"] == "download-failed"
    assert "sha256" in answer["message"]
    server.fault = ""
    assert fetch(server, tmp_path)[0]["revision"] == COMMIT


@pytest.mark.parametrize(("fault", "words"), [("html", "not a hub's"), ("gone", "could not be fetched")])
def test_answers_of_no_hub_become_a_sentence(server, tmp_path, fault, words):
    server.fault = fault
    answer, stderr = fetch(server, tmp_path)
    assert answer["code"] == "download-failed"
    assert words in answer["message"]
    assert "hf_abc" not in answer["message"] + stderr


def test_a_hub_that_is_down_becomes_a_sentence(server, tmp_path):
    answer, _ = fetch(server, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert answer["code"] == "download-failed"


def test_offline_asks_nobody(server, tmp_path):
    answer, _ = fetch(server, tmp_path, HF_HUB_OFFLINE="1")
    assert answer["code"] == "model-missing"
    assert not server.asked


def test_offline_may_also_be_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    for call in (lambda: hub.download_size(SPEC, offline=True), lambda: hub.fetch(SPEC, print, offline=True)):
        with pytest.raises(PixartError) as caught:
            call()
        assert caught.value.code == "model-missing"
