"""Alternatives: every combination once, in order, and a place for every mistake."""

from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.escapes import escape
from pixart_cli.core.list_lines import Line
from pixart_cli.core.prompt_template import Choice, Literal, parse_template


def colours(name, place, index):
    if name not in ("colour", "a/warm colours"):
        raise place.wrong(index, f"no list is named {name!r}", "")
    return Choice([Literal("red"), Literal("blue")])


def parse(text):
    return parse_template(Line("x.txt", 1, text), colours)


def combinations(text):
    template = parse(text)
    return [template.pick(number) for number in range(template.count)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red sun", ["a red sun"]), ("a | b", ["a | b"]), ("", [""]),
        ("a {red|green} sun", ["a red sun", "a green sun"]),
        ("{a|b}{1|2}", ["a1", "a2", "b1", "b2"]),
        ("{a|{b|c} d|}", ["a", "b d", "c d", ""]),
        ("{very |}old", ["very old", "old"]),
        ("{_colour_} sun", ["red sun", "blue sun"]),
        ("{ _colour_ |no} sun", ["red sun", "blue sun", "no sun"]),
        ("{_a/warm colours_}", ["red", "blue"]),
        ("{the {_colour_} one|x}", ["the red one", "the blue one", "x"]),
        ("_colour_", ["_colour_"]), ("{_x|y_}", ["_x", "y_"]),
        (r"\{a\|b\} {c\|d|e}", ["{a|b} c|d", "{a|b} e"]), (r"{\_colour\_|x}", ["_colour_", "x"]),
        (r"a\nb \x41 c\d \(e\)", ["a\nb A c\\d \\(e\\)"]), ("a\\", ["a\\"]),
    ],
)  # fmt: skip
def test_combinations(text, found):
    assert combinations(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {b", "x.txt:1:3: a { that is never closed"),
        ("a {b|", "x.txt:1:3: a { that is never closed"),
        ("{a|{b|c}", "x.txt:1:1: a { that is never closed"),
        ("a } b", "x.txt:1:3: a } that closes nothing"),
        ("a {b}", "x.txt:1:3: braces that offer only one thing"),
        ("a {}", "x.txt:1:3: braces with nothing inside"),
        ("{a|{}}", "x.txt:1:4: braces with nothing inside"),
        ("a {_color_}", "x.txt:1:4: no list is named 'color'"),
        ("{_../x_}", "x.txt:1:1: braces that offer only one thing"),
        ("{_/etc/passwd_}", "x.txt:1:1: braces that offer only one thing"),
        ("{" * 11, "x.txt:1:11: more than 10 braces within each other"),
        ("{1|2}" * 1000, "x.txt:1:1: more combinations than there are atoms"),
    ],
)  # fmt: skip
def test_mistakes_name_their_place(text, message):
    with pytest.raises(PixartError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.message) == ("prompt-list-invalid", message)


def test_what_is_counted_is_never_listed():
    template = parse("{1|2|3|4|5|6|7|8|9|0}" * 40)
    assert template.count == 10**40
    assert template.pick(0) == "1" * 40
    assert template.pick(10**40 - 1) == "0" * 40


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
GROUPS = st.lists(WORDS, min_size=2, max_size=3) | WORDS.map(lambda word: [word])


@given(st.lists(GROUPS, max_size=4))
def test_any_words_in_any_order(groups):
    """Against itertools, which lists what is only counted here."""
    written = [[escape(word, "\\{}|_") for word in group] for group in groups]
    text = "".join(group[0] if len(group) == 1 else "{" + "|".join(group) + "}" for group in written)
    assert combinations(text) == ["".join(words) for words in product(*groups)]


@given(st.text(st.sampled_from("ab{}|_\\ "), max_size=14))
def test_any_text_is_a_template_or_a_mistake(text):
    with suppress(PixartError):
        assert len(combinations(text)) == parse(text).count
