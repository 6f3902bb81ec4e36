"""Prompt → `prompt_embeds`: the T5 encoder of PixArt, on the words only.

Shapes: L tokens (the real ones, the end token among them), C the encoder's width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers.models.t5.modeling_t5 import T5EncoderModel
    from transformers.models.t5.tokenization_t5 import T5Tokenizer

    from pixart_cli.core.catalog import ModelSpec
    from pixart_cli.core.request import GenerationRequest

_PUNCTUATION = " \t\n.,;:!?\"'()[]{}<>«»“”‘’…"


def normalise(prompt: str) -> str:
    """`prompt` in lower case with no space around it, as upstream's `_text_preprocessing` leaves it."""
    return prompt.lower().strip()


def encode(
    tokenizer: T5Tokenizer, text_encoder: T5EncoderModel, prompt: str, *, max_tokens: int, device: str = "cpu"
) -> torch.Tensor:
    """`prompt_embeds` of one prompt, (L, C) on the CPU, L ≤ `max_tokens`.

    Upstream pads to `max_tokens` and masks the padding everywhere, so the padding changes nothing but the
    time: T5's positions are relative, and masked keys weigh nothing. One prompt at a time, so that its
    numbers do not depend on its neighbours.
    """
    tokens = tokenizer(normalise(prompt), max_length=max_tokens, truncation=True, return_tensors="pt")
    output = text_encoder(tokens.input_ids.to(device), attention_mask=tokens.attention_mask.to(device))
    states: torch.Tensor = output.last_hidden_state
    return states[0].cpu()


def cut_off(tokenizer: T5Tokenizer, prompt: str, max_tokens: int) -> str:
    """The end of `prompt` that the encoder does not read; "" when it reads all."""
    ids = tokenizer(normalise(prompt)).input_ids
    return tokenizer.decode(ids[max_tokens - 1 : -1]).strip() if len(ids) > max_tokens else ""


def unknown_words(tokenizer: T5Tokenizer, prompt: str) -> tuple[str, ...]:
    """The words of `prompt` that the tokenizer has no pieces for, each once, in order."""
    words = dict.fromkeys(word.strip(_PUNCTUATION) for word in normalise(prompt).split())
    unknown = tokenizer.unk_token_id
    return tuple(
        word for word in words if word and unknown in tokenizer(word, add_special_tokens=False).input_ids
    )


def warnings_of(tokenizer: T5Tokenizer, spec: ModelSpec, request: GenerationRequest) -> tuple[str, ...]:
    """Sentences on what the encoder of `spec` does not read of `request`, or was never taught."""
    found = []
    for text in dict.fromkeys((request.prompt, request.negative_prompt)):
        if cut := cut_off(tokenizer, text, spec.max_tokens):
            found.append(f"the prompt is longer than {spec.max_tokens} tokens; not read: {_begun(cut)}")
        if spec.family == "mini" and (words := unknown_words(tokenizer, text)):
            found.append(f"{spec.name} was never taught: {_begun(', '.join(words))}")
    return tuple(found)


def _begun(text: str, most: int = 400) -> str:
    """The beginning of `text`: a prompt may be 64 KiB, a warning should not."""
    return text if len(text) <= most else text[:most] + "…"
