"""Options below a prompt: split as a shell splits them, and read as `gen` reads them."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.cli.app import app
from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import Line
from pixart_cli.core.option_words import read_options, split_words
from pixart_cli.core.options import SETTINGS


def words(text):
    return split_words(Line("x.txt", 2, text))


def options(text):
    return read_options(words(text), {})


def refused(text):
    with pytest.raises(PixartError) as caught:
        options(text)
    assert caught.value.code == "prompt-list-invalid"
    assert caught.value.hint
    return caught.value


# Comments, $'..' and \\$ are the shell's, but not shlex's.
@given(st.text(st.sampled_from("ab \t'\"\\é=-"), max_size=12))
def test_words_are_those_of_the_shell(text):
    try:
        theirs = shlex.split(text)
    except ValueError:
        with pytest.raises(PixartError):
            words(text)
        return
    assert [word.text for word in words(text)] == theirs


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("--seed 3 # good", ["--seed", "3"]), ("a#b '#c' #d e", ["a#b", "#c"]), ("# --seed 3", []),
        ("$'a\\nb\\x1b\\'' $x", ["a\nb\x1b'", "$x"]), (r'"a\"b\\c\d" a\ b', ['a"b\\c\\d', "a b"]),
        ("''", [""]),
        ("a'b'\"c\"$'d'", ["abcd"]),
    ],
)  # fmt: skip
def test_quotes_and_comments(text, split):
    assert [word.text for word in words(text)] == split


def test_each_word_knows_its_column():
    assert [word.place for word in words("--seed  '3' --steps")] == ["x.txt:2:1", "x.txt:2:9", "x.txt:2:13"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("--seed 3 -r 4k -m mini", {"seed": 3, "res": "4k", "model": "mini"}),
        ("--seed=3 -r4k --negative=", {"seed": 3, "res": "4k", "negative": ""}),
        ("--negative ' a  b '", {"negative": " a  b "}), ("--negative -x", {"negative": "-x"}),
        ("--guidance 4 --kv-compression 2", {"guidance": 4.0, "kv_compression": "2"}),
        ("--guidance 1e-05", {"guidance": 1e-05}),
        ("--draft", {"refine": "off"}), ("--direct", {"refine": "direct"}),
        ("--lora a;b:0.5 --lora c", {"lora": ("a;b:0.5", "c")}), ("--lora ''", {"lora": ()}),
        ("-o '{slug}.png' -n 2 --metadata none", {"output": "{slug}.png", "count": 2, "metadata": "none"}),
        ("-p none", {"preset": "none"}), ("", {}),
    ],
)  # fmt: skip
def test_options_are_spelled_as_for_gen(text, found):
    assert options(text) == found


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("--sed 3", "x.txt:2:1: no option is named '--sed'", "Did you mean --seed?"),
        ("--seed 3 --stps=4", "x.txt:2:10: no option is named '--stps'", "Did you mean --steps?"),
        ("--seed three", "x.txt:2:8: seed cannot be 'three'", "Expected a whole number."),
        ("--seed=-1", "x.txt:2:8: seed cannot be -1", "The least is 0."),
        ("--res 4kk", "x.txt:2:7: no size is named '4kk'", "Did you mean '4k'?"),
        ("--seed", "x.txt:2:1: --seed needs a value", "Write it after the option, on the same line."),
        ("-s 3 -s 4", "x.txt:2:9: seed is set twice for one prompt", "Remove one of them."),
        ("--draft --direct", "x.txt:2:9: refine is set twice for one prompt", "Remove one of them."),
        ("--negative 'a", "x.txt:2:12: a quote that is never closed", "Begin and end a value on one line."),
        ("a\\", "x.txt:2:2: a backslash at the end", "Begin and end a value on one line."),
        ("-o -", "x.txt:2:4: a picture of a batch cannot go to standard output",
         "Name a file, a folder or a template."),
    ],
)  # fmt: skip
def test_mistakes_name_line_and_column(text, message, hint):
    error = refused(text)
    assert (error.message, error.hint) == (message, hint)


def test_words_that_are_no_options_are_told_so():
    assert refused("--negative two words").message == "x.txt:2:16: 'words' is no option"
    assert refused("--draft=yes").message.startswith("x.txt:2:1: no option is named '--draft")


@pytest.mark.parametrize("setting", [row for row in SETTINGS if row.whole_batch], ids=lambda row: row.key)
def test_what_is_the_whole_batch_s_is_refused_with_the_reason(setting):
    for name in (f"--{setting.key.replace('_', '-')}", f"-{setting.short}"):
        if name != "-":
            assert refused(f"{name} x").message == (
                f"x.txt:2:1: {name} cannot be said of one picture: {setting.whole_batch}"
            )


def complaint(text):
    try:
        options(text)
    except PixartError as error:
        return error.message
    return ""


def test_every_option_of_gen_is_known_here_and_the_other_way_round():
    import typer

    gen = typer.main.get_command(app).commands["gen"]
    names = {name for option in gen.params for name in option.opts if name.startswith("-")} - {"--help", "-h"}
    unknown = [name for name in names - {"--debug"} if "no option" in complaint(name)]
    assert unknown == []
    assert {f"-{row.short}" for row in SETTINGS if row.short} == {name for name in names if len(name) == 2}
