"""Lists that are written: they read back the same, whatever is in them."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.list_lines import as_list
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.core.prompt_writer import write_job
from pixart_cli.core.terminal import plain

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ODD = (
    "# a",
    "--seed 3",
    "-",
    " a ",
    "  b",
    "\ufeffa",
    "{a|b}",
    "{_a_}",
    "\\{a\\}",
    "\\",
    "prompt, seed",
    "a\r\nb",
)
PROMPTS = TEXT.filter(str.strip) | st.sampled_from(ODD)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "negative": TEXT,
        "seed": st.integers(0, 2**63 - 1),
        "guidance": st.floats(0, 100),
        "lora": st.lists(
            st.text("abc ;'\"$\\#é", min_size=1).map(str.strip).filter(bool), max_size=3
        ).map(tuple),
        "output": st.text("ab {}-'\"\n\x1b", min_size=1).filter(lambda text: text != "-"),
    },
)  # fmt: skip


def test_a_job_as_people_write_it():
    text = write_job("a red sun", {"seed": 3, "negative": "fog's"}, comment="x.png\nagain")
    assert text == "# x.png\n# again\na red sun\n  --seed 3 --negative 'fog'\"'\"'s'\n"
    assert write_job("a", {}) == "a\n"


def test_long_option_lines_are_parted():
    lines = write_job("a", {"negative": "x" * 90, "seed": 3, "steps": 4}).splitlines()
    assert lines == ["a", f"  --negative {'x' * 90}", "  --seed 3 --steps 4"]


def test_only_options_of_a_picture_are_written():
    with pytest.raises(KeyError):
        write_job("a", {"width": 3})


@given(st.lists(st.tuples(PROMPTS, OPTIONS, TEXT), max_size=3))
def test_what_is_written_reads_back_the_same(written):
    text = "".join(write_job(prompt, options, comment=comment) for prompt, options, comment in written)
    assert plain(text, keep_newlines=True) == text
    source = as_list(io.BytesIO(text.encode()))
    found = [(job.prompt, job.options) for job in read_jobs(source, name="x.txt")]
    assert found == [(prompt, options) for prompt, options, _ in written]
