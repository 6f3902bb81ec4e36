"""`records.jsonl`: one whole line a picture, whoever writes beside."""

import json
import os

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.engine import Published
from pixart_cli.features.batch.records import Records
from tests.features.batch.conftest import entry


def published(resolver, prompt="sun"):
    (task,) = resolver.tasks(entry(prompt, 3, seed=1), 0)
    return Published(task=task, path=task.paths[0], provenance={}, seconds=1.23456)


def test_a_line_says_what_a_reader_wants(resolver, tmp_path):
    records = Records(tmp_path / "out" / "records.jsonl")
    records.add(published(resolver))
    records.close()
    line = json.loads((tmp_path / "out" / "records.jsonl").read_text())
    assert (line["path"], line["seed"], line["line"], line["seconds"]) == ("sun-1.png", 1, 3, 1.235)


def test_two_writers_do_not_mix(resolver, tmp_path):
    both = [Records(tmp_path / "records.jsonl") for _ in range(2)]
    for n in range(50):
        both[n % 2].add(published(resolver, f"sun {n}" * 50))
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len({json.loads(line)["prompt"] for line in lines}) == 50


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_disk_is_told(resolver, tmp_path):
    (tmp_path / "records.jsonl").symlink_to("/dev/full")
    with pytest.raises(PixartError, match="no space left") as caught:
        Records(tmp_path / "records.jsonl").add(published(resolver))
    assert caught.value.code == "disk"
