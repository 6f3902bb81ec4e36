"""Captions: many ways of saying a scene, all in words the tokenizer knows."""

from itertools import pairwise
from random import Random

from pixart_cli.diffusion.posters.caption import all_words, write_caption
from pixart_cli.diffusion.posters.scene import Group, Landscape, Shapes, Stripes, sample_scene

SCENE = Landscape(
    sky="cream",
    land="mountains",
    land_colour="blue",
    celestial=Group(kind="sun", count=1, colour="red", place="left"),
)


def test_every_word_is_in_the_vocabulary() -> None:
    known, rng = set(all_words()), Random(1)
    for _ in range(3000):
        words = write_caption(sample_scene(rng), rng).text.replace(",", " ").split()
        assert known.issuperset(words)


def test_one_scene_is_said_in_many_ways() -> None:
    rng = Random(2)
    assert len({write_caption(SCENE, rng).text for _ in range(200)}) > 120


def test_what_is_asked_is_what_is_said() -> None:
    rng = Random(3)
    for _ in range(300):
        caption = write_caption(SCENE, rng)
        said_red = "red" in caption.text or "scarlet" in caption.text
        assert ("celestial.colour" in caption.asked) == said_red
        assert ("celestial.place" in caption.asked) == ("left" in caption.text)
        assert ("sky.colour" in caption.asked) == ("cream" in caption.text or "beige" in caption.text)
        assert "land.kind" in caption.asked


def test_numbers_and_plurals() -> None:
    shapes = Shapes(background="white", groups=(Group(kind="star", count=3, colour="red"),))
    texts = [write_caption(shapes, Random(i)).text for i in range(40)]
    assert all("stars" in text and ("three" in text or "3" in text) for text in texts)


def test_articles_agree() -> None:
    rng = Random(4)
    for _ in range(3000):
        words = write_caption(sample_scene(rng), rng).text.split()
        for article, word in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), (article, word)


def test_stripes_name_both_inks() -> None:
    caption = write_caption(Stripes(first="red", second="white", direction="vertical"), Random(5))
    assert "white" in caption.text
    assert "stripes" in caption.text
    assert {"stripes.kind", "stripes.colours"} <= caption.asked
