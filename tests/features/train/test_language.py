"""Language: the tokenizer knows its words, the heads learn neighbours."""

from pathlib import Path
from random import Random

import torch
from transformers import T5Tokenizer

from pixart_cli.diffusion.posters.caption import all_words, write_caption
from pixart_cli.diffusion.posters.scene import sample_scene
from pixart_cli.features.train.language import (
    NEIGHBOURS,
    PAD,
    build_neighbour_heads,
    build_text_encoder,
    build_tokenizer,
    captions_of_step,
    neighbour_loss,
    tokenize,
)


def test_one_token_a_word_and_unknown_words_are_unknown() -> None:
    tokenizer = build_tokenizer()
    for word in all_words():
        assert len(tokenizer(word).input_ids) == 2, word
    assert tokenizer.unk_token_id in tokenizer("a cathedral").input_ids
    assert tokenizer.unk_token_id not in tokenizer("a red sun, over blue mountains.").input_ids


def test_saved_and_loaded_it_reads_the_same(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    text = "two green trees on the left, navy sky"
    assert T5Tokenizer.from_pretrained(tmp_path)(text).input_ids == tokenizer(text).input_ids


def test_neighbour_loss_is_zero_for_a_reader_that_knows_them() -> None:
    ids = torch.tensor([[5, 6, 7, 1, PAD, PAD]])
    words = 12
    states = torch.nn.functional.one_hot(torch.arange(6), 6).float()[None]
    heads = build_neighbour_heads(words)
    for offset, head in zip(NEIGHBOURS, heads, strict=True):
        table = torch.zeros(words, 6)
        for at in range(4):
            if 0 <= at + offset < 4:
                table[ids[0, at + offset], at] = 50.0
        head.weight = torch.nn.Parameter(torch.cat([table, torch.zeros(words, 122)], dim=1))
        torch.nn.init.zeros_(head.bias)
    padded = torch.cat([states, torch.zeros(1, 6, 122)], dim=2)
    assert neighbour_loss(padded, ids, heads).item() < 1e-6


def _captions(count: int) -> torch.Tensor:
    rng = Random("language")
    texts = [write_caption(sample_scene(rng), rng).text for _ in range(count)]
    return tokenize(build_tokenizer(), texts)[0].to(torch.int16)


def test_a_few_steps_teach_neighbours() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    encoder, heads = build_text_encoder(len(tokenizer)), build_neighbour_heads(len(tokenizer))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], lr=3e-3)
    losses = []
    captions, generator = _captions(400), torch.Generator().manual_seed(0)
    for _ in range(25):
        ids = captions_of_step(captions, 16, generator)
        mask = (ids != PAD).long()
        loss = neighbour_loss(encoder(ids, attention_mask=mask).last_hidden_state, ids, heads)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_captions_are_a_function_of_the_generator() -> None:
    captions = _captions(50)
    first, again, other = (
        captions_of_step(captions, 8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(row in captions.tolist() for row in first.tolist())
