"""Prompt lists as people write them: lazily read, counted without being made, sampled the same everywhere."""

import io
import re
import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import FORMATS, Job, read_entries, read_jobs

LIST = """\
# A night of posters

a red sun over blue mountains
  --res 4k --seed 3   # the first one
\t--negative "fog, people"

a {white|grey} moon
# its option
  -n 2
the end # of it
"""


def jobs(text, **options):
    return list(read_jobs(io.StringIO(text), name="x.txt", **options))


def prompts(text, **options):
    return [job.prompt for job in jobs(text, **options)]


def refused(text, **options):
    with pytest.raises(PixartError) as caught:
        jobs(text, **options)
    assert caught.value.code == "prompt-list-invalid"
    assert caught.value.hint
    return caught.value.message


def test_a_list_of_everything():
    assert jobs(LIST) == [
        Job(
            prompt="a red sun over blue mountains",
            options={"res": "4k", "seed": 3, "negative": "fog, people"},
            line=3,
            source="x.txt",
        ),
        Job(prompt="a white moon", options={"count": 2}, line=7, source="x.txt"),
        Job(prompt="a grey moon", options={"count": 2}, line=7, source="x.txt"),
        Job(prompt="the end # of it", options={}, line=10, source="x.txt"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []), ("\n \n# x\n", []), ("a", ["a"]), ("a  \t\n", ["a"]), ("\ufeffa\r\nb\r\n", ["a", "b"]),
        (r"\# a", ["# a"]), (r"\--seed 3", ["--seed 3"]), (r"\x20a\x20", [" a "]), (r"a\nb", ["a\nb"]),
        ("- a", ["- a"]), ("--x", ["--x"]),
        ("--seeds a", ["--seeds a"]), ("= a", ["= a"]),
        ("東京\u3000", ["東京\u3000"]), ("a\n\n\n  -s 3\nb", ["a", "b"]),
    ],
)  # fmt: skip
def test_prompts(text, found):
    assert prompts(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n  --sed 3", "x.txt:2:3: no option is named '--sed'"),
        ("\n  -s 3\na", "x.txt:2:3: options, and no prompt above them"),
        ("a\nindent\n  me", "x.txt:3:3: 'me' is no option"),
        ("a\n--seed 3", "x.txt:2:1: a prompt that begins like an option"),
        ("a\n--seed=3", "x.txt:2:1: a prompt that begins like an option"),
        ("a\n {b", "x.txt:2:2: '{b' is no option"),
        ("a\nb {c", "x.txt:2:3: a { that is never closed"),
        ("a\n{|}", "x.txt:2:1: the prompt is empty"),
        ("a\n" + "x" * 65537, "x.txt:2:1: the prompt: 65537 bytes long"),
        ("a\n\\ud800", "x.txt:2:1: the prompt: not valid UTF-8 at character 0"),
        ("a\nb\x00", "x.txt:2:2: a NUL character"),
    ],
)
def test_mistakes_name_list_line_and_column(text, message):
    assert refused(text) == message


PIECES = st.sampled_from(
    "a|{|}|\\|'|\"|\n|\n  |\r\n|\r|\0|\udcff|--seed|--json|-o -|3|9e999|=|#|,|;|\t|prompt|seed|:|[|null|NaN"
    "|$'|{_x_}|\ufeff|\u3000|".split("|")
) | st.sampled_from(["|", '{"prompt": ', "prompt,seed\n"])  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(FORMATS))
def test_any_text_is_a_list_or_a_mistake(text, how):
    try:
        for job in islice(read_jobs(io.StringIO(text, newline="\n"), name="x", format=how), 20):
            job.prompt.encode("utf-8")
    except PixartError as error:
        complaint = error
    else:
        return
    assert complaint.code == "prompt-list-invalid"
    assert re.match(r"x:\d+:\d+: .", complaint.message)
    assert complaint.hint


def test_what_comes_before_a_mistake_is_read():
    found = read_jobs(["a", "b", "{"], name="x.txt")
    assert [job.prompt for job in islice(found, 2)] == ["a", "b"]
    with pytest.raises(PixartError, match=r"x\.txt:3:1: "):
        next(found)


def test_the_length_of_a_list_costs_no_memory():
    def lines():
        for number in range(10_000_000):
            yield f"a poster of {{red|blue}} {number}\n"
            yield "  --seed 3\n"

    found = read_jobs(lines(), name="x.txt")
    list(islice(found, 1000))
    tracemalloc.start()
    last = list(islice(found, 3000))[-1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last.prompt == "a poster of blue 1999"
    assert peak < 5_000_000


def test_combinations_are_counted_and_not_made():
    (entry,) = read_entries(["{1|2|3|4|5|6|7|8|9|0}" * 40], name="x")
    assert (entry.count(), entry.count(5), entry.line, entry.source) == (10**40, 5, 1, "x")
    assert next(entry.jobs()).prompt == "1" * 40
    assert len({job.prompt for job in entry.jobs(sample=5)}) == 5


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 300), st.integers())
def test_samples_are_different_combinations_in_order(sizes, size, seed):
    text = "".join("{" + "|".join("abcd"[:n]) + "|z}" for n in sizes)
    every = prompts(text)
    found = prompts(text, sample=size, sample_seed=seed)
    assert len(found) == min(size, len(every))
    assert found == [prompt for prompt in every if prompt in set(found)]
    assert found == prompts(text, sample=size, sample_seed=seed)


def test_a_sample_does_not_change_with_what_stands_around_it():
    text = "{a|b|c|d|e|f|g|h} {1|2|3|4|5|6|7|8}"
    alone = prompts(text, sample=4, sample_seed=7)
    assert prompts(f"x\n# y\n{text}\nz", sample=4, sample_seed=7)[1:5] == alone
    assert prompts(text, sample=4, sample_seed=8) != alone
    # What one release drew, the next one draws: these numbers are a promise.
    assert alone == PROMISED


PROMISED = ["a 8", "d 1", "e 7", "h 8"]


def test_every_combination_is_as_likely_as_any_other():
    drawn = [prompts("{a|b|c|d|e}", sample=2, sample_seed=seed) for seed in range(500)]
    counts = [sum(letter in pair for pair in drawn) for letter in "abcde"]
    assert all(abs(count - 200) < 50 for count in counts)  # 4.5 standard deviations


def test_lists_of_words_are_found_in_the_folders_given(tmp_path):
    (tmp_path / "colour.txt").write_text("red\nblue\n")
    assert prompts("a {_colour_} sun", wildcard_folders=[tmp_path]) == ["a red sun", "a blue sun"]
    assert refused("a {_color_} sun", wildcard_folders=[tmp_path]) == "x.txt:1:4: no list is named 'color'"


@pytest.mark.parametrize("how", ["text", "csv", "jsonl"])
def test_the_format_that_was_asked_for_is_used(how):
    text = {"text": "prompt,seed\n", "csv": "prompt,seed\nprompt,3\n", "jsonl": '{"prompt": "prompt"}\n'}[how]
    found = [job.prompt for job in read_jobs(io.StringIO(text), name="-", format=how)]
    assert found == (["prompt,seed"] if how == "text" else ["prompt"])
