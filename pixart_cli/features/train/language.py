"""Stage two: the tokenizer, and the text encoder, taught each word's neighbours before it meets a picture.

Trained through the diffusion loss alone a small encoder learns which colours are present but not
which thing each belongs to. Predicting the words around each word settles that in a minute.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from pixart_cli.diffusion.posters.caption import all_words

MAX_TOKENS = 64
WIDTH = 128
NEIGHBOURS = (-3, -2, -1, 0, 1, 2, 3)
PAD, END = 0, 1


def build_tokenizer() -> T5Tokenizer:
    """A word-level Unigram tokenizer over the caption vocabulary; any other word becomes <unk>."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), (",", -2.0), (".", -2.0), ("▁", -8.0)]
    pieces += [("▁" + word, -3.0) for word in all_words()]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=MAX_TOKENS)


def build_text_encoder(vocab_size: int) -> T5EncoderModel:
    """The network, untrained: three layers of width 128, 0.5 M parameters."""
    config = T5Config(
        vocab_size=vocab_size,
        d_model=WIDTH,
        d_kv=32,
        d_ff=256,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    return T5EncoderModel(config)


def build_neighbour_heads(vocab_size: int) -> nn.ModuleList:
    """One linear head per neighbour; used in training only."""
    return nn.ModuleList(nn.Linear(WIDTH, vocab_size) for _ in NEIGHBOURS)


def tokenize(tokenizer: T5Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (B, T) with T the longest text's."""
    batch = tokenizer(
        list(texts), padding="longest", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )
    return batch.input_ids, batch.attention_mask


def neighbour_loss(states: Tensor, ids: Tensor, heads: nn.ModuleList) -> Tensor:
    """Mean cross-entropy of each head where the neighbour exists. `states` (B, T, D), `ids` (B, T)."""
    losses = []
    for offset, head in zip(NEIGHBOURS, heads, strict=True):
        target = torch.full_like(ids, PAD)
        if offset < 0:
            target[:, -offset:] = ids[:, :offset]
        elif offset == 0:
            target = ids.clone()
        else:
            target[:, :-offset] = ids[:, offset:]
        target = target.masked_fill(ids == PAD, PAD)
        losses.append(
            functional.cross_entropy(head(states).flatten(0, 1), target.flatten(), ignore_index=PAD)
        )
    return torch.stack(losses).mean()


def mask_of(ids: Tensor) -> Tensor:
    """The attention mask of padded `ids`, of their shape."""
    return (ids != PAD).long()


def captions_of_step(captions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` rows of `captions` (N, T), as `generator` picks them."""
    rows = torch.randint(len(captions), (count,), generator=generator, device=captions.device)
    return captions[rows].long()
