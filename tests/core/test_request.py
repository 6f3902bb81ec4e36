"""The request: what it refuses, its fingerprint, and the way through a dictionary and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_NAME, FIELDS, MAX_PROMPT_BYTES, MAX_SIDE, SCHEDULERS
from pixart_cli.core.request import GenerationRequest, check_text, fingerprint_of, refuse_unknown

VALUES: dict[str, Any] = {
    "prompt": "a red sun", "model": "mini", "width": 256, "height": 384, "num_inference_steps": 20,
    "guidance_scale": 4.5, "scheduler": "dpm++", "seed": 7,
}  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=80)


@st.composite
def requests(draw: st.DrawFn) -> GenerationRequest:
    return GenerationRequest(
        prompt=draw(texts.filter(str.strip)),
        negative_prompt=draw(texts),
        model=draw(st.sampled_from(["mini", "sigma-2k"])),
        width=draw(st.integers(16, MAX_SIDE)),
        height=draw(st.integers(16, MAX_SIDE)),
        num_inference_steps=draw(st.integers(1, 1000)),
        guidance_scale=draw(st.floats(0, 100)),
        scheduler=draw(st.sampled_from(SCHEDULERS)),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


@given(requests())
def test_any_request_survives_json(request_: GenerationRequest) -> None:
    again = GenerationRequest.from_dict(json.loads(json.dumps(request_.to_dict())))
    assert again == request_
    assert again.fingerprint == request_.fingerprint


def test_the_fingerprint_is_stable_and_tells_every_field_apart() -> None:
    request = GenerationRequest(**VALUES)
    assert len(request.fingerprint) == 64
    changes = {
        "prompt": "b", "negative_prompt": "c", "model": "lcm", "width": 32, "height": 32, "seed": 8,
        "num_inference_steps": 2, "guidance_scale": 1.0, "scheduler": "lcm", "kv_compression": "2",
        "refine": "2", "lora": "a" * 64 + ":1.0", "init_image": "a" * 64,
        "text_encoder_bits": 8, "guidance_until": 0.5,
    }  # fmt: skip
    others = {dataclasses.replace(request, **{name: value}).fingerprint for name, value in changes.items()}
    others.add(dataclasses.replace(request, init_image="a" * 64, strength=0.5).fingerprint)
    assert len(others | {request.fingerprint}) == len(changes) + 2
    assert {*changes, "strength"} == set(BY_NAME)


def test_a_field_that_came_later_changes_no_fingerprint_but_its_own() -> None:
    request = GenerationRequest(**VALUES)
    # The one that pictures had in which these are not mentioned.
    late = {field.name for field in FIELDS if field.late}
    assert late == {"text_encoder_bits", "guidance_until"}
    before = {name: value for name, value in request.to_dict().items() if name not in late}
    assert request.fingerprint == fingerprint_of(before)
    assert request.fingerprint == "d201760c3cd13484ab14dad83b97ee33f8ddb3fa02cf97ec8a705dec358fadbb"
    for changed in ({"text_encoder_bits": 8}, {"guidance_until": 0.5}):
        other = dataclasses.replace(request, **changed)
        assert fingerprint_of(before | changed) == other.fingerprint != request.fingerprint


def test_an_int_and_a_float_guidance_are_one_request() -> None:
    four = GenerationRequest(**{**VALUES, "guidance_scale": 4})
    assert four.fingerprint == GenerationRequest(**{**VALUES, "guidance_scale": 4.0}).fingerprint


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GenerationRequest(**VALUES).seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"width": 0}, "request-invalid"),
        ({"seed": "7"}, "request-invalid"),
        ({"kv_compression": "1"}, "request-invalid"),
        ({"kv_compression": 2}, "request-invalid"),
        ({"lora": "a" * 64}, "request-invalid"),
        ({"lora": "mine.safetensors:1.0"}, "request-invalid"),
        ({"init_image": "x.png"}, "request-invalid"),
        ({"strength": 0.5}, "request-invalid"),
        ({"init_image": "a" * 64, "strength": 0.0}, "request-invalid"),
        ({"prompt": " \n"}, "prompt-invalid"),
        ({"prompt": "a\x00b"}, "prompt-invalid"),
        ({"negative_prompt": "\ud800"}, "prompt-invalid"),
        ({"prompt": "é" * (MAX_PROMPT_BYTES // 2 + 1)}, "prompt-invalid"),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(PixartError) as caught:
        GenerationRequest(**{**VALUES, **change})
    assert caught.value.code == code


def test_the_longest_prompt_is_accepted() -> None:
    assert GenerationRequest(**{**VALUES, "prompt": "x" * MAX_PROMPT_BYTES}).width == 256


def test_from_dict_names_what_is_unknown_and_what_is_missing() -> None:
    with pytest.raises(PixartError, match=r"a\.png: unknown key 'widht'") as caught:
        GenerationRequest.from_dict({**VALUES, "widht": 3}, source="a.png")
    assert caught.value.hint == "Did you mean 'width'?"
    with pytest.raises(PixartError, match=r"a\.png: model, seed missing"):
        GenerationRequest.from_dict(
            {name: value for name, value in VALUES.items() if name not in ("model", "seed")}, source="a.png"
        )


def test_a_strange_key_gets_the_list_of_known_ones() -> None:
    with pytest.raises(PixartError) as caught:
        refuse_unknown("zzz", {"a": 1, "b": 2}, source="here", code="usage")
    assert (caught.value.code, caught.value.hint) == ("usage", "Known: a, b.")


def test_text_is_checked_with_its_place() -> None:
    check_text("ok é 漢 🎨", "prompt")
    with pytest.raises(PixartError, match="prompt: not valid UTF-8 at character 3"):
        check_text("caf\udce9", "prompt")
