"""The record of a download: what it says, what it refuses to say, and where it lies."""

import hashlib
import json
import subprocess

import pytest

from pixart_cli.core.components import COMPONENTS
from pixart_cli.core.errors import PixartError
from pixart_cli.core.paths import state_dir
from pixart_cli.diffusion.records import (
    HubFile,
    Record,
    digest_of,
    forget,
    is_sound_name,
    mark,
    read_record,
    records,
    refuse_unsound,
    size_of,
    write_record,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def file_of(component, data=b"hello\n"):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    file = HubFile("acme/tiny", COMMIT, f"{component}/config.json", len(data), digest)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(data)
    return file


@pytest.fixture
def record():
    files = tuple(file_of(component) for component in COMPONENTS)
    parts = dict.fromkeys(COMPONENTS, ("acme/tiny", COMMIT))
    return Record("sigma-256", parts, files, dict.fromkeys((file.key for file in files), "checked"))


def where():
    return next(state_dir().rglob("sigma-256.json"))


def test_a_record_is_read_as_it_was_written(record):
    assert read_record("sigma-256") is None
    write_record(record.verified_now())
    again = read_record("sigma-256")
    assert (again.files, again.parts, again.states) == (record.files, record.parts, record.states)
    assert again.verified.endswith("+00:00")
    assert again.commits == (COMMIT,)
    assert list(records()) == [again]
    refuse_unsound(again)
    forget("sigma-256")
    forget("sigma-256")
    assert read_record("sigma-256") is None


def test_another_cache_has_its_own_records(record, monkeypatch, tmp_path):
    write_record(record)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "other"))
    assert read_record("sigma-256") is None


def test_digests_are_those_of_sha256sum_and_git(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello\n" * 1000)
    counts = []
    assert (
        digest_of(path, "sha256", counts.append) == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    )
    assert counts == [6000]
    git = subprocess.run(
        ["git", "hash-object", path], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert digest_of(path, "git-sha1") == f"git-sha1:{git}"
    assert (size_of(path), size_of(tmp_path), size_of(tmp_path / "none")) == (6000, None, None)


def test_states_are_noted_in_every_record(record):
    write_record(record)
    first = record.files[0]
    mark({first.key: "damaged", ("no", "such", "file"): "damaged"})
    assert read_record("sigma-256").states[first.key] == "damaged"
    with pytest.raises(PixartError, match="is damaged") as caught:
        refuse_unsound(read_record("sigma-256"))
    assert caught.value.code == "weights-invalid"


def test_what_is_missing_or_of_another_size_is_told(record):
    record.files[0].path.unlink()
    with pytest.raises(PixartError, match="1 of 5 files") as caught:
        refuse_unsound(record)
    assert "`pixart models pull sigma-256`" in caught.value.hint
    record.files[1].path.write_bytes(b"longer than it was")
    with pytest.raises(PixartError, match="is damaged"):
        refuse_unsound(record)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "pixart.weights/2"},
        {"model": "sigma-512"},
        {"parts": {}},
        {"parts": {"vae": {"repo": "acme/tiny", "commit": COMMIT}}},
        {"files": []},
        {"files": 3},
        {"verified": None, "files": [{}]},
        {"name": "../../evil"},
        {"repo": "../evil"},
        {"commit": "main"},
        {"digest": "md5:0"},
        {"size": -1},
        {"size": "6"},
        {"state": "perfect"},
    ],
    ids=str,
)
def test_what_is_no_record_counts_as_none(record, change):
    write_record(record)
    data = json.loads(where().read_text())
    (data if set(change) & set(data) else data["files"][0]).update(change)
    where().write_text(json.dumps(data))
    assert read_record("sigma-256") is None


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_damaged_records_count_as_none(record, text):
    write_record(record)
    where().write_text(text)
    assert read_record("sigma-256") is None


def test_a_state_folder_that_is_none_is_told(record, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIXART_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(PixartError) as caught:
        write_record(record)
    assert (caught.value.code, "PIXART_STATE_DIR" in caught.value.hint) == ("disk", True)


@pytest.mark.parametrize(
    ("name", "sound"),
    [("a.json", True), ("vae/a-b_c.json", True), ("", False), ("a/", False), ("./a", False), ("é/ü", True)],
)
def test_sound_names(name, sound):
    assert is_sound_name(name) is sound
