"""What docs/batch.md says is so: its lists read as it says, and its mistakes are told as it says."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import open_list
from pixart_cli.core.options import PICTURE_SETTINGS, SETTINGS
from pixart_cli.core.prompt_list import Job, read_jobs
from pixart_cli.core.refine import SHORTHANDS
from pixart_cli.core.wildcards import FOLDER

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LISTS = {name: text for _, name, text in BLOCKS if name}
# Each list is followed by what it gives.
CASES = [
    (name, kind, text) for (_, name, _), (kind, _, text) in pairwise(BLOCKS) if kind in ("jobs", "error")
]


def shown(job: Job) -> str:
    """`job` as the page shows it."""
    values = {key: ";".join(v) if isinstance(v, tuple) else str(v) for key, v in job.options.items()}
    options = " ".join(
        f"{key}={value if '{' in value else shlex.quote(value)}" for key, value in values.items()
    )
    prompt = job.prompt.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{prompt} | {options}" if options else prompt


@pytest.fixture
def page_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every list of the page, in files of their names."""
    for name, text in LISTS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name: str) -> list[Job]:
    return list(read_jobs(open_list(Path(name)), name=name, wildcard_folders=[Path(FOLDER)]))


@pytest.mark.parametrize(("name", "kind", "text"), CASES, ids=[name for name, _, _ in CASES])
def test_lists_give_what_the_page_says(page_lists: Path, name: str, kind: str, text: str) -> None:
    if kind == "jobs":
        assert [shown(job) for job in read(name)] == text.splitlines()
        return
    with pytest.raises(PixartError) as caught:
        read(name)
    assert [caught.value.message, caught.value.hint] == text.splitlines()
    assert (caught.value.code, caught.value.exit_code) == ("prompt-list-invalid", 2)


def test_every_list_of_the_page_is_tried() -> None:
    assert {name for name, _, _ in CASES} == {name for name in LISTS if not name.startswith(FOLDER)}
    assert len(CASES) >= 9


def test_the_table_of_options_is_the_table_of_the_program() -> None:
    rows = re.findall(r"^\| (`--.*?) \| (yes|no).*\|$", PAGE, re.MULTILINE)
    said = {answer: set() for answer in ("yes", "no")}
    for options, answer in rows:
        said[answer] |= set(re.findall(r"`--([a-z0-9-]+)`", options))
    known = {key.replace("_", "-") for key in PICTURE_SETTINGS}
    assert said["yes"] == known | set(SHORTHANDS)
    assert said["no"] == {row.key.replace("_", "-") for row in SETTINGS} - known


def test_reasons_of_the_page_are_those_of_the_program() -> None:
    for row in SETTINGS:
        name = f"`--{row.key.replace('_', '-')}`"
        if row.whole_batch:
            (line,) = [line for line in PAGE.splitlines() if line.startswith("| `--") and name in line]
            assert row.whole_batch.removeprefix("it is ") in line
