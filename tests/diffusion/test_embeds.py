"""Kept embeddings: found by those who would compute the same bits, and by nobody else."""

import dataclasses
import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from pixart_cli.core.disk_cache import Contents
from pixart_cli.core.paths import cache_dir
from pixart_cli.diffusion.embeds import EmbedsCache, embeds_cache, encoder_bytes, kept
from pixart_cli.diffusion.weights import locate
from tests.toy_model import toy_text_encoder

TEXT = "a red sun"
LIMIT = 1_000_000


@pytest.fixture
def embeds():
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def cache(toy):
    return EmbedsCache(toy, kept(LIMIT))


@pytest.fixture
def copy(toy_folder, tmp_path):
    """A toy of its own, to be changed."""
    return shutil.copytree(toy_folder, tmp_path / "copy")


def place():
    (path,) = (cache_dir() / "embeds").iterdir()
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_bit_comes_back(cache, cpu_plan, embeds, dtype):
    embeds = embeds.to(dtype)
    assert cache.recall(TEXT, dtype, cpu_plan) is None
    cache.keep(TEXT, embeds, cpu_plan)
    found = cache.recall(TEXT, dtype, cpu_plan)
    assert found.dtype is dtype
    assert torch.equal(found.view(torch.uint8), embeds.view(torch.uint8))


def test_an_entry_is_safetensors_and_holds_no_text(cache, cpu_plan, embeds):
    cache.keep("a secret sun", embeds, cpu_plan)
    with safe_open(place(), framework="pt") as file:
        assert list(file.keys()) == ["prompt_embeds"]
        assert torch.equal(file.get_tensor("prompt_embeds"), embeds)
    assert b"secret" not in place().read_bytes() + place().name.encode()


def test_another_text_length_precision_or_device_is_another_entry(cache, toy, cpu_plan, embeds, monkeypatch):
    cache.keep(TEXT, embeds, cpu_plan)
    assert cache.recall("a red moon", torch.float32, cpu_plan) is None
    assert cache.recall(TEXT, torch.bfloat16, cpu_plan) is None
    shorter = dataclasses.replace(toy, spec=dataclasses.replace(toy.spec, max_tokens=5))
    assert EmbedsCache(shorter, kept(LIMIT)).recall(TEXT, torch.float32, cpu_plan) is None
    on_gpu = dataclasses.replace(cpu_plan, device="mps")
    assert cache.recall(TEXT, torch.float32, on_gpu) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert cache.recall(TEXT, torch.float32, cpu_plan) is None
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert cache.recall(TEXT, torch.float32, cpu_plan) is None
    monkeypatch.undo()
    assert cache.recall(TEXT, torch.float32, cpu_plan) is not None


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_weights(folder):
    toy_text_encoder(21).save_pretrained(folder / "text_encoder")


CHANGES = {
    "weights": other_weights,
    "configuration": lambda folder: edit(folder / "text_encoder" / "config.json", layer_norm_epsilon=1e-5),
    "tokenizer": lambda folder: edit(folder / "tokenizer" / "tokenizer_config.json", extra_ids=1),
    "one more file": lambda folder: (folder / "tokenizer" / "added_tokens.json").write_text('{"moon": 7}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_encoder_or_tokenizer_finds_nothing(copy, cpu_plan, embeds, change):
    EmbedsCache(locate(str(copy)), kept(LIMIT)).keep(TEXT, embeds, cpu_plan)
    change(copy)
    assert EmbedsCache(locate(str(copy)), kept(LIMIT)).recall(TEXT, torch.float32, cpu_plan) is None


def test_another_transformer_and_another_place_find_it(copy, cache, cpu_plan, embeds):
    cache.keep(TEXT, embeds, cpu_plan)
    edit(copy / "transformer" / "config.json", note="fine-tuned")
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(
        (copy / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    )
    found = EmbedsCache(locate(str(copy)), kept(LIMIT)).recall(TEXT, torch.float32, cpu_plan)
    assert torch.equal(found, embeds)


def test_weights_of_the_hub_are_known_by_their_blobs_and_not_read(copy, cpu_plan, embeds):
    weights = copy / "text_encoder" / "model.safetensors"
    blob = copy / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    weights.rename(blob)
    weights.symlink_to(blob)
    installed = dataclasses.replace(locate(str(copy)), commits=("c" * 40,))
    EmbedsCache(installed, kept(LIMIT)).keep(TEXT, embeds, cpu_plan)
    status = blob.stat()
    blob.write_bytes(b"\0" * status.st_size)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert EmbedsCache(installed, kept(LIMIT)).recall(TEXT, torch.float32, cpu_plan) is not None
    os.utime(blob, ns=(1, 1))  # fetched again: what came of the old bytes is not trusted
    assert EmbedsCache(installed, kept(LIMIT)).recall(TEXT, torch.float32, cpu_plan) is None


def changed(data, at, by=1):
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


DAMAGE = {
    "a number": lambda data: changed(data, len(data) - 7),
    "the seal": lambda data: changed(data, data.index(b'"seal":"') + 9),
    "the length": lambda data: changed(data, 0, 8),
    "its end": lambda data: data[:-1],
    "its middle": lambda data: data[: len(data) // 2],
    "all of it": lambda data: b"",
    "another shape": lambda data: data.replace(b"[5,16]", b"[8,10]"),
    "another precision": lambda data: data.replace(b'"F32"', b'"I32"'),
    "no seal": lambda data: save({"prompt_embeds": torch.zeros(5, 16)}),
    "another tensor": lambda data: save({"x": torch.zeros(5, 16)}, metadata={"seal": "0"}),
    "a pickle": lambda data: pickle.dumps(torch.zeros(5, 16)),
    "no JSON": lambda data: data.replace(b"{", b"["),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_a_miss_and_is_written_again(cache, cpu_plan, embeds, damage):
    cache.keep(TEXT, embeds, cpu_plan)
    whole = place().read_bytes()
    place().write_bytes(damage(whole))
    assert place().read_bytes() != whole
    assert cache.recall(TEXT, torch.float32, cpu_plan) is None
    cache.keep(TEXT, embeds, cpu_plan)
    assert place().read_bytes() == whole


def test_an_entry_under_the_name_of_another_is_a_miss(cache, cpu_plan, embeds):
    cache.keep(TEXT, embeds, cpu_plan)
    first = place()
    data = first.read_bytes()
    first.unlink()
    cache.keep("a blue sea", embeds + 1, cpu_plan)
    place().write_bytes(data)
    assert cache.recall("a blue sea", torch.float32, cpu_plan) is None


def test_what_is_not_finite_is_not_kept(cache, cpu_plan, embeds):
    embeds[2, 3] = torch.nan
    cache.keep(TEXT, embeds, cpu_plan)
    assert kept(LIMIT).contents() == Contents(0, 0)


def test_an_encoder_that_cannot_be_read_is_a_miss(copy, cpu_plan, embeds):
    cache = EmbedsCache(locate(str(copy)), kept(LIMIT))
    shutil.rmtree(copy / "tokenizer")
    cache.keep(TEXT, embeds, cpu_plan)
    assert cache.recall(TEXT, torch.float32, cpu_plan) is None


def test_nothing_is_kept_of_a_tiny_encoder_nor_when_switched_off(toy, monkeypatch):
    assert encoder_bytes(toy) < 100_000
    assert embeds_cache(toy, LIMIT) is None
    assert embeds_cache(locate("mini"), LIMIT) is None
    monkeypatch.setattr("pixart_cli.diffusion.embeds.TINY_BYTES", 0)
    assert embeds_cache(toy, 0) is None
    assert embeds_cache(toy, LIMIT) is not None


def test_an_entry_can_be_asked_for_without_reading_it(cache, cpu_plan, embeds):
    assert not cache.holds("a red sun", embeds.dtype, cpu_plan)
    cache.keep("a red sun", embeds, cpu_plan)
    assert cache.holds("a red sun", embeds.dtype, cpu_plan)
    assert not cache.holds("a red sun", torch.bfloat16, cpu_plan)
