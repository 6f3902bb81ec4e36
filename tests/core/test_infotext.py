from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager
from sd_parsers.parsers import AUTOMATIC1111Parser

from pixart_cli.core import infotext
from pixart_cli.core.fields import BY_NAME, SCHEDULERS
from pixart_cli.core.metadata import Record
from pixart_cli.core.png import encode
from pixart_cli.core.request import GenerationRequest

NASTY = [
    "a cat, a dog: two\nNegative prompt: none",
    "Steps: 1, Sampler: x, CFG scale: 2, Seed: 3",
    "x\nSteps: 20, Sampler: Euler, Seed: 1, Size: 1x1",
    'quoted "text", \\ and {json: [1]} Hashes: {"a": 1}',
    "negative prompt: negative PROMPT:\tNegative  prompt:",
    "\x1b[31mred\x1c\x85\u2028end",
    "été 漢字 🚀",
    "{", "}", ":", ",", '"', "\\",
]  # fmt: skip
TEXT = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
)
PROMPT = st.lists(TEXT, min_size=1, max_size=3).map(" ".join).filter(str.strip)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=PROMPT,
    negative_prompt=TEXT,
    model=st.sampled_from(["mini", "sigma-1024", 'odd, "name": x']),
    width=st.integers(16, 32768),
    height=st.integers(16, 32768),
    num_inference_steps=st.integers(1, 1000),
    guidance_scale=st.floats(0, 100),
    scheduler=st.sampled_from(SCHEDULERS),
    seed=st.integers(0, 2**63 - 1),
    kv_compression=st.sampled_from(["off", "auto", "2", "8"]),
    lora=st.sampled_from(["", "a" * 64 + ":0.5", f"{'a' * 64}:1.0+{'b' * 64}:-0.5"]),
)


USUAL = {
    name: field.default for name, field in BY_NAME.items() if field.default is not None
}  # left out of the text


def record(request: GenerationRequest) -> Record:
    return Record(request=request, provenance={}, output={}, fingerprint=request.fingerprint)


def request(**changes: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "prompt": "a red sun", "model": "mini", "width": 512, "height": 256, "num_inference_steps": 20,
        "guidance_scale": 4.5, "scheduler": "dpm++", "seed": 7,
    }  # fmt: skip
    return GenerationRequest(**values | changes)


def kept(text: str) -> str:
    """What the grammar can hold of a prompt: one line."""
    return " ".join(text.split())


def ascii_colons(text: str) -> str:
    return text.replace("\uff1a", ":")


def test_reads_as_a1111_users_know_it() -> None:
    text = infotext.write(record(request(negative_prompt="dull\ngrey", guidance_scale=7)))
    lines = text.split("\n")
    assert lines[:2] == ["a red sun", "Negative prompt: dull grey"]
    assert lines[2].startswith(
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 7, Size: 512x256, Model: mini, RNG: CPU, "
        "Version: pixart "
    )


def test_files_are_named_by_the_first_digits_of_their_hashes() -> None:
    asked = request(lora=f"{'a' * 64}:0.5+{'b' * 64}:1.0", init_image="c" * 64, strength=0.6)
    line = infotext.write(record(asked)).split("\n")[1]
    for item in ("Lora: aaaaaaaaaaaa 0.5+bbbbbbbbbbbb 1.0", "Init image: cccccccccccc"):
        assert f", {item}, " in line
    found = infotext.parse(infotext.write(record(asked)))
    assert (found["strength"], found["Init image"]) == (0.6, "c" * 12)
    assert "Denoising strength" not in infotext.write(record(request()))


def test_every_scheduler_has_a_sampler_name_of_its_own() -> None:
    assert set(infotext.SAMPLERS) == set(SCHEDULERS)
    assert len(set(infotext.SAMPLERS.values())) == len(SCHEDULERS)


@settings(max_examples=150, deadline=None)
@given(REQUESTS)
@example(request(prompt="Negative prompt:", negative_prompt="Negative prompt: x"))
def test_what_is_written_parses_to_the_same_request(asked: GenerationRequest) -> None:
    found = infotext.parse(infotext.write(record(asked)))
    assert ascii_colons(found["prompt"]) == ascii_colons(kept(asked.prompt))
    assert ascii_colons(found["negative_prompt"]) == ascii_colons(kept(asked.negative_prompt))
    names = set(BY_NAME) - {"prompt", "negative_prompt", "model"} - set(USUAL)
    assert {name: found[name] for name in names} == {name: getattr(asked, name) for name in names}
    for name in ("kv_compression", "refine", "strength"):
        assert found.get(name, USUAL[name]) == getattr(asked, name)
    assert kept(asked.model.translate(dict.fromkeys(map(ord, ',:"'), " "))) == found["model"]
    assert found["Version"].startswith("pixart ")


@settings(max_examples=150, deadline=None)
@given(REQUESTS)
def test_an_independent_reader_sees_the_same(asked: GenerationRequest) -> None:
    data = encode(Image.new("RGB", (1, 1)), [("parameters", infotext.write(record(asked)))], dpi=None)
    manager = ParserManager(managed_parsers=[AUTOMATIC1111Parser], normalize_parameters=False)
    info = manager.parse(io.BytesIO(data))
    assert info is not None
    assert ascii_colons(info.full_prompt) == ascii_colons(kept(asked.prompt))
    assert ascii_colons(info.full_negative_prompt) == ascii_colons(kept(asked.negative_prompt))
    (sampler,) = info.samplers
    assert sampler.name == infotext.SAMPLERS[asked.scheduler]
    assert sampler.parameters["Seed"] == str(asked.seed)
    assert sampler.parameters["Steps"] == str(asked.num_inference_steps)
    assert float(sampler.parameters["CFG scale"]) == asked.guidance_scale


def test_a_foreign_text_keeps_what_it_cannot_translate() -> None:
    found = infotext.parse(
        " a cat\n  on a mat\nNegative prompt: dog\nbad\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 0, Size: 832x1216, "
        'Lora hashes: "a: 1, b: 2"\n'
    )
    assert found == {
        "prompt": "a cat\non a mat",
        "negative_prompt": "dog\nbad",
        "num_inference_steps": 20,
        "Sampler": "DPM++ 2M Karras",
        "guidance_scale": 7.5,
        "seed": 0,
        "width": 832,
        "height": 1216,
        "Lora hashes": "a: 1, b: 2",
    }


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("Seed: -1", {"Seed": "-1"}),
        ("Steps: many", {"Steps": "many"}),
        ("CFG scale: nan", {"CFG scale": "nan"}),
        ("Size: 12", {"Size": "12"}),
        ("Seed: " + "9" * 5000, {"Seed": "9" * 5000}),
        (r'Note: "\x"', {"Note": r'"\x"'}),
        ("Negative prompt: x", {"negative_prompt": "", "Negative prompt": "x"}),
    ],
)
def test_values_that_do_not_fit_stay_text(item: str, expected: dict[str, str]) -> None:
    found = infotext.parse(f"p\n{item}, RNG: CPU, Version: x")
    assert {key: found[key] for key in expected} == expected


def test_settings_named_like_our_fields_do_not_pass_for_them() -> None:
    found = infotext.parse("p\nprompt: x, negative_prompt: y, width: z, RNG: CPU")
    assert found == {"prompt": "p", "negative_prompt": "", "RNG": "CPU"}


@pytest.mark.parametrize("text", ["only a prompt", "Steps: 3, Seed: 4", ""])
def test_a_text_without_settings_is_all_prompt(text: str) -> None:
    assert infotext.parse(text) == {"prompt": text, "negative_prompt": ""}


@given(st.text(st.sampled_from(':," \\\nab'), max_size=60))
def test_any_text_parses(text: str) -> None:
    assert {"prompt", "negative_prompt"} <= infotext.parse(text).keys()
