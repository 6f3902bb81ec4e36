"""What is loaded is what was saved, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.peer_networks import check_peer_fit, load_clip_tokenizer, load_peer

NETWORKS = [
    ("sdxl", "text_encoder"), ("sdxl", "text_encoder_2"), ("sdxl", "unet"), ("sdxl", "vae"),
    ("cascade", "text_encoder"), ("cascade", "prior"), ("cascade", "decoder"), ("cascade", "vqgan"),
]  # fmt: skip


@pytest.fixture
def copy(toy_peers: dict[str, Path], tmp_path: Path) -> Callable[[str, str], Path]:
    return lambda model, name: shutil.copytree(toy_peers[model] / name, tmp_path / model / name)


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


@pytest.mark.parametrize(("model", "name"), NETWORKS)
def test_every_tensor_arrives(toy_peers: dict[str, Path], model: str, name: str) -> None:
    folder = toy_peers[model] / name
    network = load_peer(name, folder, model, dtype=torch.float32)
    stored = load_file(weights(folder))
    loaded = network.state_dict()
    assert len(loaded) == len(stored)
    assert sorted(map(float, (value.double().sum() for value in loaded.values()))) == pytest.approx(
        sorted(map(float, (value.double().sum() for value in stored.values())))
    )
    assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    half = load_peer(name, folder, model, dtype=torch.bfloat16)
    assert {value.dtype for value in half.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["text_encoder", "text_encoder_2"])
def test_files_of_older_releases_are_understood(copy: Callable[[str, str], Path], name: str) -> None:
    folder = copy("sdxl", name)
    tensors = load_file(weights(folder))
    plain = {key.removeprefix("text_model."): value for key, value in tensors.items()}
    old = {
        key if key == "text_projection.weight" else f"text_model.{key}": value for key, value in plain.items()
    }
    old["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    before = load_peer(name, folder, "sdxl", dtype=torch.float32).state_dict()
    save_file(old, weights(folder), {"format": "pt"})
    after = load_peer(name, folder, "sdxl", dtype=torch.float32).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("model", "name", "change", "what"),
    [
        ("sdxl", "unet", {"_class_name": "Evil"}, "its class 'Evil' is not UNet2DConditionModel"),
        ("sdxl", "unet", {"layers_per_block": 100_000}, "layers_per_block"),
        ("sdxl", "unet", {"transformer_layers_per_block": [1, 99_999]}, "transformer_layers_per_block"),
        ("sdxl", "unet", {"block_out_channels": [8, 1_000_000]}, "block_out_channels"),
        ("sdxl", "unet", {"cross_attention_dim": "wide"}, "no unet can be built from it"),
        ("sdxl", "unet", {"block_out_channels": [8, 32]}, "of another shape"),
        ("sdxl", "text_encoder", {"num_hidden_layers": 100_000}, "num_hidden_layers"),
        ("sdxl", "text_encoder", {"vocab_size": 10**9}, "vocab_size"),
        ("sdxl", "text_encoder", {"hidden_act": "eval"}, "hidden_act"),
        ("cascade", "prior", {"down_num_layers_per_block": [10_000, 1]}, "down_num_layers_per_block"),
        ("cascade", "vqgan", {"bottleneck_blocks": 900}, "bottleneck_blocks"),
        ("cascade", "vqgan", {"levels": 2_000_000}, "levels"),
    ],
)
def test_configurations_that_do_not_fit(
    copy: Callable[[str, str], Path], model: str, name: str, change: dict[str, Any], what: str
) -> None:
    folder = copy(model, name)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PixartError) as caught:
        check_peer_fit(name, folder, model)
    assert caught.value.code == "weights-invalid"
    assert what in caught.value.message


@pytest.mark.parametrize(("model", "name"), NETWORKS)
def test_weights_that_do_not_fit(copy: Callable[[str, str], Path], model: str, name: str) -> None:
    folder = copy(model, name)
    whole = load_file(weights(folder))
    first = min(key for key, value in whole.items() if value.is_floating_point() and value.numel() > 1)
    for change, what in (
        ({key: value for key, value in whole.items() if key != first}, "missing"),
        (whole | {"another": torch.zeros(1)}, "not of this model"),
        (whole | {first: torch.cat([whole[first], whole[first]])}, "of another shape"),
        (whole | {first: torch.full_like(whole[first], float("nan"))}, "holds NaN or infinity"),
    ):
        save_file(change, weights(folder), {"format": "pt"})
        with pytest.raises(PixartError, match=what) as caught:
            load_peer(name, folder, model, dtype=torch.float32)
        assert caught.value.code == "weights-invalid"


def test_no_other_option_of_the_library_is_read(copy: Callable[[str, str], Path]) -> None:
    folder = copy("sdxl", "text_encoder")
    path = folder / "config.json"
    asked = {"auto_map": {"AutoModel": "evil.Evil"}, "_attn_implementation": "someone/kernel"}
    path.write_text(json.dumps(json.loads(path.read_text()) | asked))
    network = load_peer("text_encoder", folder, "sdxl", dtype=torch.float32)
    assert network.config._attn_implementation in ("sdpa", "eager")


def test_tokenizers_of_two_files_and_damaged_ones(copy: Callable[[str, str], Path]) -> None:
    folder = copy("sdxl", "tokenizer")
    tokenizer = load_clip_tokenizer(folder)
    words = tokenizer.convert_ids_to_tokens(tokenizer("a red sun").input_ids)
    assert words == ["<|startoftext|>", "a</w>", "red</w>", "sun</w>", "<|endoftext|>"]
    (folder / "merges.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "vocab.json").write_text("[")
    with pytest.raises(PixartError) as caught:
        load_clip_tokenizer(folder)
    assert caught.value.code == "weights-invalid"
