"""From a record to a line of a list and back: the same request, whatever files and variables say."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixart_cli.core import paths
from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent
from pixart_cli.core.lora import Recorded, read_recorded
from pixart_cli.core.metadata import Record
from pixart_cli.core.peers import schedulers_of
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.core.prompt_writer import write_job
from pixart_cli.core.recorded_job import options_of, options_of_settings, size_text
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Size, named_sizes, parse_size
from pixart_cli.core.settings import Inputs, lay_over, resolve_requests

A, B, C = "a" * 64, "b" * 64, "c" * 64
PLACES = {A: "my loras/a.safetensors", B: "b:x.safetensors", C: "start.png"}
HOSTILE = {
    "PIXART_PRESET": "linocut", "PIXART_NEGATIVE": "fog", "PIXART_SEED": "7", "PIXART_COUNT": "3",
    "PIXART_STEPS": "9", "PIXART_GUIDANCE": "1", "PIXART_SCHEDULER": "lcm", "PIXART_REFINE": "2",
    "PIXART_RES": "a3", "PIXART_LORA": "x.safetensors", "PIXART_MODEL": "sigma-2k",
    "PIXART_KV_COMPRESSION": "auto",
}  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=TEXT.filter(str.strip),
    negative_prompt=TEXT,
    model=st.sampled_from(["mini", "sigma-1024"]),
    width=st.integers(1000, 2000),
    height=st.integers(1000, 2000),
    num_inference_steps=st.integers(1, 1000),
    guidance_scale=st.floats(0, 100),
    scheduler=st.sampled_from(schedulers_of(get_model("mini"))),
    seed=st.integers(0, 2**63 - 1),
    refine=st.sampled_from(["off", "auto", "direct", "3", "0.75"]),
    lora=st.sampled_from(["", f"{A}:0.5", f"{A}:1.0+{B}:-1e-05"]),
)


def record_of(request: GenerationRequest, **output: Any) -> Record:
    parent = Parent(sha256=C) if request.init_image else None
    filled = {"dpi": None, "name": None, "preset": None} | output
    return Record(
        request=request, provenance={}, output=filled, fingerprint=request.fingerprint, parent=parent
    )


def request_of(line: str, environ: dict[str, str]) -> GenerationRequest:
    """What the one job of the list `line` asks for, by the way that `gen` goes."""
    (job,) = read_jobs(line.split("\n"), name="x.txt")
    asked = lay_over(job.options, environ=environ)
    by_place = {place: sha256 for sha256, place in PLACES.items()}
    loras = [wish.rpartition(":") for wish in asked.values["lora"]]
    spelled = "+".join(
        f"{sha256}:{scale!r}" for sha256, scale in sorted((by_place[p], float(s)) for p, _, s in loras)
    )
    place = asked.values["init_image"]
    parent = None if place is None else Parent(sha256=by_place[place])
    (found,) = resolve_requests(
        asked, [job.prompt], installed=["mini", "sigma-1024"], inputs=Inputs(lora=spelled, parent=parent)
    )
    return found.request


@settings(deadline=None)
@given(REQUESTS, st.none() | st.floats(0.001, 1), st.booleans())
def test_a_record_asks_for_the_same_picture_again(request, strength, hostile):
    if strength is not None:
        request = dataclasses.replace(request, init_image=C, strength=strength)
    line = write_job(request.prompt, options_of(record_of(request), PLACES), comment="x.png")
    environ = {"PIXART_CONFIG_DIR": str(paths.config_dir()), **(HOSTILE if hostile else {})}
    assert request_of(line, environ).fingerprint == request.fingerprint


def test_a_file_that_is_not_at_hand_is_named():
    request = GenerationRequest(
        prompt="a", model="sigma-1024", width=64, height=64, num_inference_steps=1, guidance_scale=1.0,
        scheduler="euler", seed=1, lora=f"{A}:1.0", init_image=C, strength=0.5,
    )  # fmt: skip
    for places, code in (({}, "lora-missing"), ({A: "a"}, "init-image-missing")):
        with pytest.raises(PixartError) as caught:
            options_of(record_of(request), places)
        assert caught.value.code == code
        assert (C if places else A) in caught.value.message
    assert [each.scale for each in read_recorded(request.lora)] == [Recorded(A, 1.0).scale]


def sized(size: Size) -> Record:
    request = GenerationRequest(
        prompt="a", model="mini", width=size.width, height=size.height, num_inference_steps=1,
        guidance_scale=1.0, scheduler="euler", seed=1,
    )  # fmt: skip
    return record_of(request, dpi=size.dpi, name=size.name)


@pytest.mark.parametrize("suffix", ["", ":portrait", ":landscape"])
def test_every_named_size_is_named_again(suffix):
    for named in named_sizes():
        size = parse_size(named.name + suffix)
        again = parse_size(size_text(sized(size)))
        assert (again.width, again.height, again.dpi, again.name) == (
            size.width, size.height, size.dpi, size.name,
        )  # fmt: skip


@pytest.mark.parametrize("text", ["a5@72+bleed", "8.5x11in@100:landscape", "20x30cm@96.5", "640x480"])
def test_paper_and_pixels_are_said_again(text):
    size = parse_size(text)
    again = parse_size(size_text(sized(size)))
    assert (again.width, again.height, again.dpi) == (size.width, size.height, size.dpi)


def test_a_size_whose_name_says_another_is_said_in_pixels():
    assert size_text(sized(Size(640, 480, name="4k"))) == "640x480"
    assert size_text(sized(Size(640, 480, name="no such", dpi=99.0))) == "640x480"


def test_of_another_program_s_settings_what_fits_is_kept():
    found = {"prompt": "a", "negative_prompt": "fog", "width": 512, "height": 512, "seed": 3,
             "model": "sd15", "num_inference_steps": 20, "guidance_scale": 7.0,
             "scheduler": "euler-a", "Clip skip": "2"}  # fmt: skip
    assert options_of_settings(found) == {
        "res": "512x512", "negative": "fog", "steps": 20, "guidance": 7.0, "scheduler": "euler-a", "seed": 3,
    }  # fmt: skip
    assert options_of_settings({"prompt": "a", "width": 9, "height": 9}) == {}
    assert options_of_settings({"prompt": "a", "width": 512}) == {}
