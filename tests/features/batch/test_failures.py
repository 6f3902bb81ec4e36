"""`failed.txt`: readable, complete, and never in the way of what somebody else wrote."""

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.features.batch.failures import Failures, is_failures, whole
from tests.features.batch.conftest import entry

ERROR = PixartError("out-of-memory", "memory\x1b ran\nout", "Buy some.")


def fail(path, *prompts):
    failures = Failures(path)
    for prompt in prompts:
        failures.add(entry(prompt, seed=1), ERROR, f"{prompt.encode().hex():0<64}")
    failures.save()


def test_it_is_a_prompt_list_with_reasons(tmp_path):
    path = tmp_path / "failed.txt"
    fail(path, "a red\nsun", "# {x|y}")
    text = path.read_text()
    assert "out-of-memory: memory\\x1b ran out (list.txt:1)" in text
    assert [job.prompt for job in read_jobs(text.splitlines(), name="x")] == ["a red\nsun", "# {x|y}"]
    assert is_failures(path)


def test_what_was_made_is_taken_out_and_an_empty_list_removed(tmp_path):
    path = tmp_path / "failed.txt"
    fail(path, "a", "b")
    for prompt, left in (("a", True), ("b", False)):
        failures = Failures(path)
        failures.settle(f"{prompt.encode().hex():0<64}")
        failures.save()
        assert path.exists() is left
    assert not is_failures(path)


def test_two_runs_beside_each_other_lose_none(tmp_path):
    path = tmp_path / "failed.txt"
    first, second = Failures(path), Failures(path)
    for failures, prompt in ((first, "a"), (second, "b"), (first, "c")):
        failures.add(entry(prompt), ERROR, f"{prompt.encode().hex():0<64}")
        failures.save()
    assert [job.prompt for job in read_jobs(path.read_text().splitlines(), name="x")] == ["b", "a", "c"]


def test_text_of_somebody_else_stays(tmp_path):
    path = tmp_path / "failed.txt"
    path.write_bytes(b"# mine \xff\nmy prompt\n")
    fail(path, "a")
    assert path.read_bytes().count(b"# mine \xff\nmy prompt\n") == 1
    failures = Failures(path)
    failures.settle(f"{b'a'.hex():0<64}")
    failures.save()
    assert b"my prompt" in path.read_bytes()


def test_without_news_nothing_is_written(tmp_path):
    fail(tmp_path / "failed.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_entry_repeats_what_was_typed_for_the_batch():
    typed = {"steps": 3, "res": "64x64", "output": "out/", "json": True, "negative": None, "device": "cpu"}
    job = whole(entry("x", res="32x32", count=4), typed, 9)
    assert job.options == {"res": "32x32", "steps": 3, "output": "out/", "seed": 9}
