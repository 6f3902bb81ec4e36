"""Prompt → embeddings: the words only, and yet what upstream's padded encoding gives."""

import pytest
import torch

from pixart_cli.diffusion.text import cut_off, encode, normalise, unknown_words
from tests.toy_model import toy_text_encoder, toy_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return toy_tokenizer()


@pytest.fixture(scope="module")
def text_encoder(tokenizer):
    torch.manual_seed(0)
    return toy_text_encoder(len(tokenizer)).eval().requires_grad_(requires_grad=False)


def padded(tokenizer, text_encoder, prompt, length=32):
    """Encoded as diffusers' pipelines do."""
    tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    states = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    return states[0], tokens.attention_mask[0]


@pytest.mark.parametrize("prompt", ["", "a red sun", "red " * 60, "xyzzy, a sea"])
def test_words_only_equals_padded(tokenizer, text_encoder, prompt):
    ours = encode(tokenizer, text_encoder, prompt, max_tokens=32)
    states, mask = padded(tokenizer, text_encoder, prompt)
    assert ours.shape == (int(mask.sum()), 16)
    assert torch.allclose(ours, states[mask.bool()], atol=1e-5)


def test_case_and_space_around_do_not_matter(tokenizer, text_encoder):
    assert normalise("  A Red SUN\n") == "a red sun"
    first, second = (encode(tokenizer, text_encoder, p, max_tokens=32) for p in (" A Red SUN ", "a red sun"))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("words", "cut"), [(31, ""), (32, "red"), (34, "red red red")], ids=["fits", "one over", "three over"]
)
def test_what_is_cut_off_is_told(tokenizer, words, cut):
    assert cut_off(tokenizer, "red " * words, 32) == cut


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red sun over the sea", ()),
        ("a red sun, over the sea.", ()),
        ("A ZEPPELIN over a zeppelin, and a robot!", ("zeppelin", "robot")),
        ("... !", ()),
        ("一 red", ("一",)),
    ],
)
def test_unknown_words_are_named_once(tokenizer, prompt, unknown):
    assert unknown_words(tokenizer, prompt) == unknown
