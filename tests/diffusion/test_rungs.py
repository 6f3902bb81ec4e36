"""The ladder in data and words."""

import pytest

from pixart_cli.diffusion.rungs import (
    IN_BITS,
    PEER_RUNGS,
    RUNGS,
    STREAMED,
    TOGETHER,
    WHOLE,
    bits_of,
    rungs,
    words,
)


def test_each_text_encoder_has_its_ladder():
    assert rungs(WHOLE) == rungs(STREAMED) == RUNGS
    assert rungs(TOGETHER) == PEER_RUNGS
    assert rungs("4-bit") == [("full", "4-bit"), ("offload", "4-bit"), ("low", "4-bit")]


def test_bits_are_read_from_the_word():
    assert [bits_of(word) for word in ("8-bit", "4-bit", WHOLE, STREAMED, TOGETHER)] == [8, 4, 16, 16, 16]


@pytest.mark.parametrize("encoder", [WHOLE, TOGETHER, *IN_BITS.values()])
def test_every_rung_has_words_of_its_own(encoder):
    said = [words(rung) for rung in rungs(encoder)]
    assert len(set(said)) == len(said)
    for bits, word in IN_BITS.items():
        assert all((f"in {bits} bits" in each) == (word == encoder) for each in said)
