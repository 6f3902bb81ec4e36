"""Tensors in a file, and what a disk may say."""

import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pixart_cli.diffusion.tensor_file import save_tensors


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    value = torch.arange(6).reshape(2, 3).T
    save_tensors({"a": value}, tmp_path / "a.safetensors", {"told": "yes"})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), value)
        assert file.metadata() == {"format": "pt", "told": "yes"}


@pytest.mark.parametrize("place", ["missing/a.safetensors", "."])
def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 -- any of them
        save_tensors({"a": torch.zeros(1)}, tmp_path / place)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_disk_that_takes_no_more_is_an_os_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError):  # noqa: PT011 -- any of them
            save_tensors({"a": torch.zeros(100_000)}, tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
