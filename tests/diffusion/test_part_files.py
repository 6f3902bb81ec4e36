"""Which files a component has and lacks, and JSON that may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.part_files import missing_files, read_json, weight_files


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_a_tokenizer_is_one_file_or_two(name: str, tmp_path: Path) -> None:
    assert missing_files(name, tmp_path) == [f"{name}/tokenizer.json"]
    for file in ("tokenizer.json", "spiece.model"):
        (tmp_path / file).touch()
        assert missing_files(name, tmp_path) == []
        (tmp_path / file).unlink()
    (tmp_path / "vocab.json").touch()
    assert missing_files(name, tmp_path) == [f"{name}/merges.txt"]
    (tmp_path / "merges.txt").touch()
    assert missing_files(name, tmp_path) == []


def test_schedulers_and_networks(tmp_path: Path) -> None:
    assert missing_files("prior_scheduler", tmp_path) == ["prior_scheduler/scheduler_config.json"]
    absent = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    assert missing_files("unet", tmp_path) == absent
    (tmp_path / "model.safetensors").touch()
    assert missing_files("unet", tmp_path) == absent[:1]


def test_an_index_names_its_shards_and_nothing_elsewhere(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}')
    assert [path.name for path in weight_files(tmp_path)] == ["1.safetensors", "2.safetensors"]
    for table in ('{"a": "../x.safetensors"}', '{"a": "x.bin"}', '{"a": 1}', "[]", "{}"):
        index.write_text(f'{{"weight_map": {table}}}')
        with pytest.raises(PixartError, match="not an index"):
            weight_files(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 99_999, "\xff", " " * (17 << 20)])
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(PixartError) as caught:
        read_json(tmp_path / "config.json")
    assert caught.value.code == "weights-invalid"
