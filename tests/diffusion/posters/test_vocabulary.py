"""The vocabulary: complete, and every word has one meaning."""

from pixart_cli.diffusion.posters.vocabulary import (
    CELESTIAL,
    COLOUR_WORDS,
    COLOURS,
    FLYERS,
    LAND_DEFAULTS,
    LAND_WORDS,
    LANDS,
    SHAPES,
    STANDING,
    THING_WORDS,
    TIME_WORDS,
    TIMES,
)


def test_at_least_thirteen_colours_each_with_its_name_first() -> None:
    assert len(COLOURS) >= 13
    assert all(words[0] == name for name, words in COLOUR_WORDS.items())
    assert COLOUR_WORDS.keys() == COLOURS.keys()


def test_no_word_means_two_inks() -> None:
    words = [word for words in COLOUR_WORDS.values() for word in words]
    assert len(words) == len(set(words))


def test_every_table_covers_what_it_is_about() -> None:
    assert LAND_WORDS.keys() == LAND_DEFAULTS.keys() == STANDING.keys() == set(LANDS)
    assert TIME_WORDS.keys() == TIMES.keys()
    things = {*CELESTIAL, *SHAPES, *(kind for kinds in STANDING.values() for kind in kinds)}
    things |= {kind for kind in FLYERS if kind != "stars"} - {"clouds", "birds"} | {"cloud", "bird"}
    assert things == THING_WORDS.keys()
    inks = [ink for table in (LAND_DEFAULTS, TIMES) for row in table.values() for ink in row]
    assert set(inks) <= COLOURS.keys()
