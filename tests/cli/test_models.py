"""`pixart models`: pull, verify, list, remove, path; the real client in children against a hub that fails."""

import json
import os
import resource
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.diffusion.hub_cache import hub_cache, repo_folder
from pixart_cli.diffusion.records import digest_of, read_record, write_record
from pixart_cli.diffusion.weights import locate
from tests.loopback_hub import (
    COMMIT,
    HASTY,
    PULL,
    SIGNATURE,
    Fault,
    go_online,
    lay,
    online,
    serving,
    toy_repos,
)
from tests.processes import PATIENCE
from tests.terminal import answer_here

TOKEN = "hf_sentinelsentinelsentinel"
REPO = catalog()["sigma-256"].parts["transformer"].repo
SHARED = catalog()["sigma-256"].parts["vae"].repo
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
NOW = {"Retry-After": "0"}


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


@pytest.fixture
def hub(repos):
    """The toy as sigma-256 and sigma-512 on the loopback."""
    with serving({repo: dict(files) for repo, files in repos.items()}) as hub:
        yield hub


def child(hub, *more, **environ):
    """`pixart models pull sigma-256 --yes` in a process of its own."""
    return subprocess.run(
        [*PULL, *more], env=online(hub, **environ), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.fixture
def pull(pixart, hub, monkeypatch):
    """The same in this process, which has read all libraries already."""
    go_online(monkeypatch, hub.address)
    return lambda *more, model="sigma-256": pixart("models", "pull", model, "--yes", *more)


def assert_whole(hub, model="sigma-256"):
    """Every byte on the disk is the hub's, nothing else is there, and the record says so."""
    record = read_record(model)
    assert record.verified
    assert not record.unfinished
    assert {digest_of(file.path, file.digest.partition(":")[0]) for file in record.files} == {
        file.digest for file in record.files
    }
    assert all(file.path.read_bytes() == hub.repos[file.repo][file.name] for file in record.files)
    assert locate(model).revision == COMMIT


def left_overs():
    return [path for path in hub_cache().rglob("*") if path.suffix in (".incomplete", ".part")]


def test_pull_fetches_what_is_needed_and_nothing_else(hub):
    done = child(hub, "--json", HF_TOKEN=TOKEN)
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"], document["state"]) == (0, True, "here")
    wanted = {file["name"] for file in document["files"]}
    assert len(wanted) == 11
    assert not any("fp16" in name or name.endswith((".bin", ".md")) for name in wanted)
    assert hub.fetched("") == 11
    assert document["fetched_bytes"] == sum(file["size"] for file in document["files"])
    assert_whole(hub)
    assert (repo_folder(REPO) / "refs" / "main").read_text() == COMMIT
    # The store is another origin: the hub's token is not for it.
    assert hub.tokens
    assert not [line for line in hub.tokens if line.startswith("/store")]
    assert TOKEN not in done.stdout + done.stderr
    before = len(hub.asked)
    again = child(hub)
    assert (again.returncode, len(hub.asked)) == (0, before)
    assert "whole" in again.stderr


def test_what_passes_is_waited_for(hub):
    hub.faults = [
        Fault("info", "status", SHARED, 1, 503, NOW),
        Fault("tree", "status", SHARED, 1, 429, NOW),
        Fault("get", "status", "vae/config.json", 1, 503, NOW),
        Fault("get", "reset", "model-00001", 1),
        Fault("get", "cut", "model-00002", 1),
        Fault("get", "flip", f"{SHARED}/vae/diffusion", 1),
        Fault("get", "stall", f"{REPO}/transformer/diffusion", 1),
        Fault("get", "status", f"{REPO}/transformer/diffusion", 1, 403),
    ]
    done = child(hub, HF_HUB_DOWNLOAD_TIMEOUT=str(HASTY))
    assert done.returncode == 0, done.stderr
    assert [fault.served for fault in hub.faults] == [1] * len(hub.faults)
    assert_whole(hub)
    assert not left_overs()
    assert SIGNATURE not in done.stderr
    for words in ("answered 503", "answered 429", "answered 403", "broke off", "arrived damaged"):
        assert words in done.stderr


FAILURES = {
    "repository gone": (
        [Fault("info", "status", REPO, -1, 404, {"X-Error-Code": "RepoNotFound"})],
        "no such repository",
    ),
    "private": ([Fault("info", "status", REPO, -1, 401)], "no such repository, or does not show"),
    "revision gone": (
        [Fault("tree", "status", REPO, -1, 404, {"X-Error-Code": "RevisionNotFound"})],
        "does not have this revision",
    ),
    "gated list": ([Fault("info", "status", REPO, -1, 403, {"X-Error-Code": "GatedRepo"})], "gated"),
    "gated file": ([Fault("head", "status", WEIGHTS, -1, 403, {"X-Error-Code": "GatedRepo"})], f"/{REPO}"),
    "wrong token": (
        [
            Fault(
                "info", "status", "", -1, 401,
                {"X-Error-Message": "Invalid credentials in Authorization header"},
            )
        ],
        "token",
    ),
    "portal": ([Fault("info", "html")], "not a hub"),
    "portal later": ([Fault("tree", "html")], "not a hub"),
    "portal at a file": ([Fault("head", "html", WEIGHTS)], "not a hub"),
    "list of nothing": ([Fault("tree", "status", "", -1, 200)], "not a hub"),
    "silent hub": ([Fault("tree", "stall")], "stopped answering"),
    "busy hub": ([Fault("info", "status", "", -1, 503, NOW)], "answers 503"),
    "busy store": ([Fault("get", "status", WEIGHTS, -1, 503, NOW)], "answers 503"),
    "broken hub": ([Fault("info", "status", "", -1, 418)], "answers 418"),
    "file gone": (
        [Fault("head", "status", WEIGHTS, -1, 404, {"X-Error-Code": "EntryNotFound"})],
        "does not have",
    ),
    "damaged": ([Fault("get", "flip", WEIGHTS)], "sha256 is not the hub's), twice"),
    "damaged small file": ([Fault("get", "flip", "vae/config.json")], "git-sha1 is not the hub's), twice"),
    "too long": ([Fault("get", "long", WEIGHTS)], "longer than the hub says, twice"),
}  # fmt: skip


@pytest.mark.parametrize(("faults", "words"), FAILURES.values(), ids=FAILURES)
def test_every_failure_is_a_sentence_and_leaves_nothing(pull, hub, monkeypatch, faults, words):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults = [replace(fault) for fault in faults]
    if any(fault.kind == "stall" for fault in faults):
        go_online(monkeypatch, hub.address, HASTY)
    done = pull()
    assert (done.code, done.out) == (3, ""), done.err
    error, hint = done.err.splitlines()[-2:]
    assert error.startswith("error: PixArt-alpha/")
    assert words in error + hint
    assert hint.startswith("hint: ")
    assert "Traceback" not in done.err
    assert not [secret for secret in (TOKEN, SIGNATURE) if secret in done.err]
    assert not left_overs()
    assert not (repo_folder(REPO) / "snapshots" / COMMIT / WEIGHTS).is_file()
    # What is longer than promised must not fill the disk: it is cut off, twice.
    assert hub.sent < 100 << 20


ADDRESSES = {
    "down": ("http://127.0.0.1:9", {}, "cannot be reached"),
    "no address": ("not-an-address", {}, "HF_ENDPOINT is no web address"),
    "dead proxy": (
        "http://hub.invalid",
        {"HTTP_PROXY": "http://user:secret@127.0.0.1:9"},
        "the proxy http://…127.0.0.1:9 of HTTP_PROXY",
    ),
}


@pytest.mark.parametrize(("address", "environ", "words"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_way_that_leads_nowhere_is_named(address, environ, words):
    done = child(address, "--json", **environ)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["exit"]) == (3, "download-failed", 3)
    assert words in error["message"]
    assert "secret" not in done.stdout + done.stderr


def test_a_tree_that_leads_out_is_refused(pull, hub):
    hub.extra = {
        REPO: [{"type": "file", "path": "transformer/../../../../evil.json", "size": 3, "oid": "0" * 40}]
    }
    done = pull()
    assert done.code == 4
    assert "leads out of it" in done.err
    assert hub.fetched("") == 0
    assert not hub_cache().exists()


def test_a_repository_without_safetensors_is_not_taken(pull, hub):
    for name in [name for name in hub.repos[REPO] if name.endswith(".safetensors")]:
        del hub.repos[REPO][name]
    done = pull()
    assert (done.code, hub.fetched("")) == (3, 0)
    assert "no transformer as safetensors" in done.err


@pytest.mark.parametrize(
    ("change", "words"), [("missing", "missing"), ("sample", "sample_size"), ("pickle", "no safe")]
)
def test_weights_that_do_not_fit_are_refused_and_removed(pull, hub, change, words):
    from safetensors.torch import load, save

    files = hub.repos[REPO]
    if change == "missing":
        tensors = load(files[WEIGHTS])
        del tensors["proj_out.bias"]
        files[WEIGHTS] = save(tensors)
    elif change == "sample":
        config = json.loads(files["transformer/config.json"]) | {"sample_size": 64}
        files["transformer/config.json"] = json.dumps(config).encode()
    else:
        files[WEIGHTS] = b"\x80\x04cos\nsystem\n" * 20
    done = pull()
    assert done.code == 4
    assert words in done.err
    assert not repo_folder(REPO).exists()
    assert repo_folder(SHARED).exists()


def start(hub):
    return subprocess.Popen(
        PULL, env=online(hub, HF_HUB_DOWNLOAD_TIMEOUT="600"), stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_killed_and_interrupted_pulls_go_on_with_the_files_that_are_whole(pixart, pull, hub):
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        hub.faults = [Fault("get", "hold", WEIGHTS, 1)]
        hub.held.clear()
        process = start(hub)
        assert hub.held.wait(PATIENCE)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        # SIGKILL leaves a half file behind; the next pull removes it, and Ctrl-C its own.
        assert len(left_overs()) == (1 if number == signal.SIGKILL else 0)
        assert read_record("sigma-256").verified == ""
    listed = subprocess.run([*PULL[:-3], "list"], env=online(hub), capture_output=True, text=True, check=True)
    assert "partial" in next(row for row in listed.stdout.splitlines() if row.startswith("sigma-256"))
    done = pull()
    assert done.code == 0, done.err
    assert_whole(hub)
    assert not left_overs()
    assert hub.fetched("vae/diffusion") == hub.fetched("model-00001") == 1
    # The commit was asked for once: the later pulls kept to it.
    assert sum("/revision/" in path for path in hub.asked) == 2


def test_of_two_pulls_at_once_one_waits(hub):
    hub.faults = [Fault("get", "hold", WEIGHTS, 1)]
    first = start(hub)
    assert hub.held.wait(PATIENCE)
    second = start(hub)
    lines = []
    while "waiting" not in "".join(lines[-1:]):
        lines.append(second.stderr.readline())
        assert lines[-1], lines
    hub.release.set()
    for process in (first, second):
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
    assert hub.fetched("") == 11
    assert_whole(hub)


def test_a_limit_on_the_disk_is_told_and_the_rest_follows_later(pull, hub):
    done = subprocess.run(
        PULL, env=online(hub), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert "cannot write" in done.stderr
    assert "HF_HOME" in done.stderr
    assert not left_overs()
    assert pull().code == 0
    assert hub.fetched("model-00001") == 1


@pytest.fixture
def disk(tmp_path):
    """Makes a disk of `size` bytes; skips where this user may not mount one."""
    mounted = []

    def make(size):
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("no disk can be mounted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_too_little_space_is_told_with_numbers_before_anything_is_fetched(pull, hub, disk, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(disk(200_000)))
    done = pull()
    assert (done.code, hub.fetched("")) == (9, 0)
    assert "GB are to be downloaded, and" in done.err


def test_a_read_only_cache_serves_what_is_whole_and_says_no_to_more(pull, hub, disk, monkeypatch):
    folder = disk(4_000_000)
    monkeypatch.setenv("HF_HOME", str(folder))
    assert pull().code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert pull().code == 0
    shutil.rmtree(os.environ["PIXART_STATE_DIR"])  # without a record the files are compared once more
    assert pull().code == 0
    assert hub.fetched("") == 11
    done = pull(model="sigma-512")
    assert done.code == 9
    assert "read-only" in done.err.lower()


def test_what_another_tool_fetched_is_compared_and_not_fetched(pull, hub, repos):
    lay(repos)
    done = pull()
    assert done.code == 0, done.err
    assert "is compared with the hub's hashes" in done.err
    assert hub.fetched("") == 0
    assert_whole(hub)
    shutil.rmtree(os.environ["PIXART_STATE_DIR"])
    blob = locate("sigma-256").parts["vae"] / "config.json"
    blob.resolve().write_bytes(blob.read_bytes()[:-1] + b"!")
    done = pull()
    assert (done.code, hub.fetched("")) == (0, 1), done.err
    assert_whole(hub)


def test_the_second_model_of_a_family_costs_its_transformer_alone(pull, hub, repos):
    write_record(lay(repos))
    done = pull("--json", model="sigma-512")
    assert done.code == 0, done.err
    assert {path.split("/")[-2] for path in hub.asked if path.startswith("GET /store")} == {"transformer"}
    assert not [path for path in hub.asked if SHARED in path]
    assert_whole(hub, "sigma-512")


def test_offline_and_unasked_nothing_is_fetched(pull, pixart, hub, monkeypatch):
    assert pull("--offline").code == 3
    for name in ("HF_HUB_OFFLINE", "PIXART_OFFLINE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert pull().code == 3
    done = pixart("models", "pull", "sigma-256")
    assert done.code == 3
    assert "Add --yes to download it (at most about 19 GB)" in done.err
    assert hub.asked == []


# ── without the network ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def record(repos):
    """sigma-256 in the cache of this test, with its record."""
    record = lay(repos)
    write_record(record)
    return record


def spoil(file, *, size=False):
    blob = file.path.resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data[:-1] if size else data)


def weights_of(record):
    return next(file for file in record.files if file.name == WEIGHTS)


def test_damage_is_found_told_and_repaired_alone(pixart, record, pull, hub):
    spoil(weights_of(record))
    assert pixart("models", "verify").code == 0  # sizes only
    ran = pixart("models", "verify", "sigma-256", "--deep")
    assert (ran.code, ran.out) == (4, "")
    assert WEIGHTS in ran.err
    assert "`pixart models pull sigma-256`" in ran.err
    # From now on it is not loaded any more.
    assert pixart("models", "path", "sigma-256").code == 4
    assert "damaged" in next(
        line for line in pixart("models", "list").out.splitlines() if "sigma-256" in line
    )
    done = pull()
    assert done.code == 0, done.err
    assert hub.fetched("") == hub.fetched(WEIGHTS) == 1
    assert not [path for path in hub.asked if "/api/" in path]
    assert_whole(hub)
    assert pixart("models", "verify", "--deep").code == 0


def test_weights_that_are_none_any_more_are_repaired_without_a_search(pixart, record, pull, hub):
    weights_of(record).path.resolve().write_bytes(bytes(weights_of(record).size))
    assert pixart("models", "path", "sigma-256").code == 4
    done = pull()
    assert (done.code, hub.fetched("")) == (0, 1), done.err
    assert f"{WEIGHTS} on this machine is damaged" in done.err
    assert_whole(hub)
    weights_of(record).path.resolve().write_bytes(bytes(weights_of(record).size))
    ran = pixart("models", "verify", "--json")  # headers tell, hashes name the file
    assert (ran.code, ran.json["models"][1]["damaged"]) == (4, [str(weights_of(record).path)])


def test_verify_reports_each_model_as_json(pixart, record):
    document = pixart("models", "verify", "--deep", "--json").json
    assert document["schema"] == "pixart.models/1"
    told = {model["name"]: (model["whole"], model["files"], model["hashed"]) for model in document["models"]}
    assert told == {"mini": (True, 0, 0), "sigma-256": (True, 11, 11)}
    spoil(weights_of(record), size=True)
    ran = pixart("models", "verify", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (4, "weights-invalid")
    broken = ran.json["models"][1]
    assert (broken["whole"], broken["damaged"]) == (False, [str(weights_of(record).path)])
    weights_of(record).path.unlink()
    assert pixart("models", "verify", "sigma-256").code == 3
    assert pixart("models", "verify", "sigma-1025").code == 2


def test_every_model_is_listed_with_its_state_size_and_revision(pixart, record):
    lines = {line.split()[0]: line for line in pixart("models", "list").out.splitlines()}
    assert list(lines) == list(catalog())
    assert COMMIT[:12] in lines["sigma-256"]
    assert " here " in lines["sigma-256"]
    assert " partial " in lines["sigma-512"]
    assert "not here" in lines["alpha-512"]
    document = pixart("models", "list", "--json").json
    assert document["schema"] == "pixart.models/1"
    rows = {model["name"]: model for model in document["models"]}
    assert (rows["sigma-256"]["revision"], rows["sigma-256"]["verified"]) == (COMMIT, record.verified)
    assert (rows["alpha-512"]["installed"], rows["alpha-512"]["problem"]["code"]) == (False, "model-missing")


def test_remove_takes_what_no_other_model_needs(pixart, record, repos):
    write_record(lay(repos, "sigma-512"))
    assert pixart("models", "remove", "sigma-256").code == 2  # nobody can be asked
    ran = pixart("models", "remove", "sigma-256", "--yes", "--json")
    assert (ran.code, ran.json["shared_with"]) == (0, ["sigma-512"])
    assert ran.json["freed_bytes"] > weights_of(record).size
    assert not repo_folder(REPO).exists()
    assert locate("sigma-512").revision == COMMIT
    assert read_record("sigma-256") is None
    assert pixart("models", "remove", "sigma-512", "-y").code == 0
    assert not list(hub_cache().glob("models--*"))
    assert pixart("models", "remove", "sigma-512", "-y").code == 3


def test_what_cannot_be_pulled_or_removed(pixart):
    assert pixart("models", "pull", "mini").code == 0
    assert pixart("models", "remove", "mini", "--yes").code == 2
    assert pixart("models", "pull", "sigma-1025").code == 2
    assert pixart("models", "pull", "sigma-256", "--progress", "loud").code == 2


def test_a_person_is_asked_before_a_removal(record, monkeypatch):
    for typed, code in ((b"n\n", 130), (b"y\n", 0)):
        left, seen = answer_here(("models", "remove", "sigma-256"), typed, monkeypatch)
        assert left == code
        assert "Remove 11 files of sigma-256" in seen
        assert Path(record.files[0].path).exists() is (code == 130)


def test_the_parts_of_a_folder_are_printed(pixart, toy_folder):
    ran = pixart("models", "path", toy_folder)
    assert (ran.code, len(ran.out.splitlines())) == (0, 5)
    assert f"{toy_folder}/vae" in ran.out.splitlines()
    parts = pixart("models", "path", toy_folder, "--json").json["parts"]
    assert parts["transformer"] == f"{toy_folder}/transformer"


def test_a_model_that_is_not_here_has_no_path(pixart):
    ran = pixart("models", "path", "sigma-256")
    assert (ran.code, ran.out) == (3, "")
    assert "`pixart models pull sigma-256`" in ran.err
    assert pixart("models", "path", "sigma").code == 2
