"""What the hub lists, and one file of it: hashes, limits, retries and discretion, with the real client."""

import logging
from types import SimpleNamespace

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import hub
from pixart_cli.diffusion.hub import fetch_file, is_offline, list_files
from tests.loopback_hub import COMMIT, PAGE, SIGNATURE, Fault, go_online, serving

REPO = catalog()["sigma-256"].parts["transformer"].repo
FILES = {
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": bytes(range(256)) * 40,
    **{f"more/{number}.json": b"%d" % number for number in range(2 * PAGE)},
}


@pytest.fixture
def served(monkeypatch):
    with serving({REPO: dict(FILES)}) as served:
        go_online(monkeypatch, served.address)
        yield served


@pytest.fixture
def large(served):
    """The one large file, as the hub lists it."""
    return next(file for file in list_files(REPO, "main", print) if file.name.endswith("safetensors"))


def test_the_list_is_followed_over_all_pages(served):
    files = list_files(REPO, "main", print)
    assert {file.name: file.size for file in files} == {name: len(data) for name, data in FILES.items()}
    assert {file.commit for file in files} == {COMMIT}
    assert {file.digest.partition(":")[0] for file in files} == {"sha256", "git-sha1"}
    assert sum("/tree/" in path for path in served.asked) == 1 + len(FILES) // PAGE


def test_a_file_arrives_counted(served, large):
    counts = []
    fetch_file(large, counts.append, print)
    assert counts[-1] == large.size
    assert large.path.read_bytes() == FILES[large.name]
    fetch_file(large, counts.append, print)  # there, and whole
    assert served.fetched("safetensors") == 1


def test_a_small_file_is_compared_with_its_git_name(served):
    config = next(file for file in list_files(REPO, COMMIT, print) if file.name.endswith("config.json"))
    served.faults = [Fault("get", "flip", "config.json", 1)]
    told = []
    fetch_file(config, lambda _: None, told.append)
    assert "arrived damaged (its git-sha1 is not the hub's)" in told[0]
    assert config.path.read_bytes() == b"{}"


def test_a_body_without_end_is_cut_off(served, large):
    served.faults = [Fault("get", "long", "safetensors")]
    with pytest.raises(PixartError, match="longer than the hub says, twice") as caught:
        fetch_file(large, lambda _: None, lambda _: None)
    assert caught.value.code == "download-failed"
    assert not large.path.exists()
    assert served.sent < 100 << 20


def test_a_hub_that_stays_busy_is_left_after_a_few_tries(served, large):
    served.faults = [Fault("get", "status", "safetensors", -1, 503, {"Retry-After": "0"})]
    told = []
    with pytest.raises(PixartError, match="answers 503"):
        fetch_file(large, lambda _: None, told.append)
    assert told == ["the hub answered 503: trying again in 0 s"] * 4
    assert served.fetched("safetensors") == 5


def test_signed_addresses_are_in_no_warning(served, large, caplog):
    caplog.set_level(logging.DEBUG, logger="huggingface_hub")
    served.faults = [Fault("get", "cut", "safetensors", 1)]
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    fetch_file(large, lambda _: None, print)
    assert SIGNATURE not in caplog.text
    assert logger.level == before


def test_debugging_the_client_shows_no_secrets(served, large, caplog, monkeypatch):
    monkeypatch.setenv("HF_DEBUG", "1")
    served.faults = [Fault("get", "cut", "safetensors", 1)]
    fetch_file(large, lambda _: None, print)
    assert "Trying to resume" in caplog.text
    assert SIGNATURE not in caplog.text


@pytest.mark.parametrize(("value", "expected"), [("ON", True), ("1", True), ("0", False), ("", False)])
def test_the_hub_s_own_switch(monkeypatch, value, expected):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is expected


@pytest.mark.parametrize(
    "row",
    [
        {"type": "file"},
        {"type": "file", "path": "a.json", "size": "long", "oid": "0"},
        {"type": "file", "path": "a.json", "size": 1, "oid": "0", "lfs": {"size": 1}},
        {"type": "file", "path": "a.json", "size": 1, "lfs": 3},
    ],
)
def test_rows_of_no_hub_are_a_sentence(served, row):
    served.extra = {REPO: [row | {"path": row.get("path", "")}]}
    with pytest.raises(PixartError) as caught:
        list_files(REPO, "main", print)
    assert caught.value.code in ("download-failed", "weights-invalid")


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "a\\evil", "a/\x1b[2J", "c:evil", "a//b"]
)
def test_names_that_lead_out_are_refused(served, name):
    served.extra = {REPO: [{"type": "file", "path": name, "size": 1, "oid": "0" * 40}]}
    with pytest.raises(PixartError, match="leads out of it") as caught:
        list_files(REPO, "main", print)
    assert caught.value.code == "weights-invalid"


def test_what_is_no_failure_of_the_hub_stays_a_bug(served, large):
    def bug(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch_file(large, bug, print)
    assert hub.is_offline() is False


def test_a_transfer_by_xet_is_counted_once():
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    counts = []
    options = {"reconstruction_desc": "", "total": 10, "log_level": logging.ERROR}
    with XetDownloadProgressReporter(**options, tqdm_class=hub._bar(10, counts.append)) as reporter:
        for done in (4, 10):
            reporter.update_progress(
                SimpleNamespace(
                    total_bytes=10, total_bytes_completed=done, total_transfer_bytes_completed=done + 1,
                    total_bytes_completion_rate=1.0, total_transfer_bytes_completion_rate=1.0,
                )
            )  # fmt: skip
    assert counts == [4, 10]
