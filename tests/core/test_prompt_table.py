"""CSV and JSONL lists: what spreadsheets and programs write, and every mistake with its place."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.escapes import escape
from pixart_cli.core.list_lines import Line
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.core.prompt_table import detect


def jobs(text, how="auto", name="x"):
    return [
        (job.prompt, job.options, job.line)
        for job in read_jobs(io.StringIO(text, newline="\n"), name=name, format=how)
    ]


def refused(text, how):
    with pytest.raises(PixartError) as caught:
        jobs(text, how)
    assert caught.value.code == "prompt-list-invalid"
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("prompt\na\n\nb\n", [("a", {}, 2), ("b", {}, 4)]),
        ("Seed,Prompt,KV compression\n3,a,2\n", [("a", {"seed": 3, "kv_compression": "2"}, 2)]),
        ("prompt;steps\r\na,b;3\r\n", [("a,b", {"steps": 3}, 2)]),
        ("prompt\tres\na\t4k\n", [("a", {"res": "4k"}, 2)]),
        ("prompt,seed,res\na\nb,,\nc,1\n,,\n", [("a", {}, 2), ("b", {}, 3), ("c", {"seed": 1}, 4)]),
        ('prompt, negative\n"a, ""b""", "x y"\n', [('a, "b"', {"negative": "x y"}, 2)]),
        ('prompt,seed\n"a\r\nb",3\nc,4\n', [("a\nb", {"seed": 3}, 2), ("c", {"seed": 4}, 4)]),
        ("prompt,#note,lora,\na,hello,x:0.5;y,\n", [("a", {"lora": ("x:0.5", "y")}, 2)]),
        ("prompt\n{a|b} c\n", [("a c", {}, 2), ("b c", {}, 2)]),
        ("# from a spreadsheet\n\nprompt\n# a\n", [("# a", {}, 4)]),
        ("prompt\n", []),
    ],
)  # fmt: skip
def test_csv(text, found):
    assert jobs(text, "csv") == found


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("seed\n3", "x:1:1: no column is named prompt", "Name the columns in the first line."),
        ("prompt,sed\na,3", "x:1:8: unknown key 'sed'", "Did you mean 'seed'?"),
        ("prompt,seed,seed\na,3,3", "x:1:13: a second column named seed", "Remove one of them."),
        ("prompt,quiet\na,1",
         "x:1:8: quiet cannot be said of one picture: it is about what the whole batch tells",
         "Say it on the command line, for the whole batch."),
        ("prompt,seed\na, b, 3", "x:2:7: 3 cells, and the header names 2 columns",
         "Put text that holds a ',' in quotes."),
        ("prompt,seed\n,3", "x:2:1: a row without a prompt", "Say what to draw."),
        ("prompt,seed\na,x", "x:2:3: seed cannot be 'x'", "Expected a whole number."),
        ('prompt,seed\n"a\nb",3.5', "x:3:4: seed cannot be '3.5'", "Expected a whole number."),
        ("prompt,output\na,-", "x:2:3: a picture of a batch cannot go to standard output",
         "Name a file, a folder or a template."),
        ('seed,prompt\n3,"a ""b"" {c"', "x:2:12: a { that is never closed", "Write \\{ for the character."),
        ('prompt\n"a\nb', "x:2:1: a quote that is never closed, or a cell as long as no prompt is",
         'Put text in quotes, and write "" for a quote inside them.'),
        ('prompt\n"a"b', "x:2:1: not CSV: ',' expected after '\"'",
         'Put text in quotes, and write "" for a quote inside them.'),
    ],
)  # fmt: skip
def test_mistakes_in_csv(text, message, hint):
    assert refused(text, "csv") == (message, hint)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"prompt": "a", "seed": 3}\n# x\n\n  {"prompt": "b"}', [("a", {"seed": 3}, 1), ("b", {}, 4)]),
        ('{"prompt": "a", "kv-compression": 2, "lora": ["x;y"], "negative": "", "steps": null}',
         [("a", {"kv_compression": "2", "lora": ("x;y",), "negative": ""}, 1)]),
        ('{"prompt": "{a|b}\\n\\\\n", "guidance": 3}',
         [("a\n\n", {"guidance": 3.0}, 1), ("b\n\n", {"guidance": 3.0}, 1)]),
        ('{"prompt": "a", "#note": [1]}', [("a", {}, 1)]),
    ],
)  # fmt: skip
def test_jsonl(text, found):
    assert jobs(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"', "x:1:15: not JSON: Expecting ',' delimiter"),
        ("  a", "x:1:3: not JSON: Expecting value"),
        ('["a"]', "x:1:1: not an object"), ('"a"', "x:1:1: not an object"),
        ('{"seed": 3}', "x:1:1: an object without a prompt"),
        ('{"prompt": " "}', "x:1:13: an object without a prompt"),
        ('{"prompt": 3}', "x:1:12: the prompt is not text"),
        ('{"prompt": "a", "sed": 3}', "x:1:24: unknown key 'sed'"),
        ('{"prompt": "a", "seed": "3"}', "x:1:26: seed cannot be '3'"),
        ('{"prompt": "a", "seed": 3, "seed": 4}', "x:1:25: the key 'seed' twice"),
        ('{"prompt": "a", "kv-compression": 2, "kv_compression": 2}', "x:1:56: kv_compression is set twice"),
        ('{"prompt": "a", "guidance": NaN}', "x:1:1: not JSON that can be read"),
        ('{"prompt": "a", "seed": ' + "9" * 5000 + "}", "x:1:1: not JSON that can be read"),
        ("[" * 100_000, "x:1:1: not JSON that can be read"),
        ('{"prompt": "\\ud800"}', "x:1:13: the prompt: not valid UTF-8 at character 0"),
        ('{"prompt": "a\\u0000"}', "x:1:13: the prompt: holds a NUL character"),
        ('{"prompt": "\\u00e9 {x"}', "x:1:20: a { that is never closed"),
        ('{"prompt": "a", "device": "cpu"}',
         "x:1:28: device cannot be said of one picture: the networks are loaded once, for the whole batch"),
    ],
)  # fmt: skip
def test_mistakes_in_jsonl(text, message):
    assert refused(text, "jsonl")[0] == message


@pytest.mark.parametrize(
    ("first", "name", "how"),
    [
        ("a red sun", "x.txt", "text"), ("a red sun", "-", "text"), ("prompt,seed", "x.txt", "text"),
        ("prompt,seed", "-", "csv"), ("Seed;Prompt", "-", "csv"), ("seed,prompt,sed", "-", "csv"),
        ("prompt", "-", "text"), ("prompts, all", "-", "text"), ("a", "x.CSV", "csv"), ("a", "x.tsv", "csv"),
        ('{"prompt": "a"}', "-", "jsonl"), ('  {"prompt": "a', "-", "jsonl"), ("{red|blue}", "-", "text"),
        ('{"red"|"blue"}', "-", "text"), ("a", "x.jsonl", "jsonl"), ("a", "x.ndjson", "jsonl"),
        ("a", "x.json", "jsonl"), ("a", "txt", "text"), ('"a,b', "-", "text"),
    ],
)  # fmt: skip
def test_formats_are_known_by_name_or_by_the_first_line(first, name, how):
    assert detect(Line(name, 1, first), name) == how


def test_csv_is_known_only_by_a_header_at_the_very_beginning():
    assert jobs("# x\nprompt, seed\n") == [("prompt, seed", {}, 2)]


PROMPTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    str.strip
)


@given(st.lists(st.tuples(PROMPTS, st.none() | st.integers(0, 2**63 - 1)), max_size=4))
def test_what_json_writes_is_read(rows):
    lines = [json.dumps({"prompt": escape(prompt, "\\{}"), "seed": seed}) for prompt, seed in rows]
    found = [(job.prompt, job.options.get("seed")) for job in read_jobs(lines, name="x.jsonl")]
    assert found == rows


@pytest.mark.parametrize("text", [",", ",,\n", "\n,\n,,,\n"])
def test_a_csv_list_of_nothing_but_commas_asks_for_nothing(text):
    assert jobs(text, "csv") == []


@given(st.lists(st.tuples(PROMPTS, st.integers(0, 9)), max_size=4))
def test_what_csv_writers_write_is_read(rows):
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)  # a space before a bare cell is passed over
    writer.writerow(["prompt", "seed"])
    writer.writerows((escape(prompt, "\\{}"), seed) for prompt, seed in rows)
    found = [(prompt, options["seed"]) for prompt, options, _ in jobs(out.getvalue(), "csv")]
    assert found == rows


def test_a_quote_that_is_never_closed_does_not_swallow_the_list():
    read = 0

    def endless():
        nonlocal read
        yield "prompt\n"
        yield '"a\n'
        while True:
            read += 1
            yield "\n"

    with pytest.raises(PixartError, match="x:2:1: a quote that is never closed"):
        next(read_jobs(endless(), name="x", format="csv"))
    assert read < 500_000
