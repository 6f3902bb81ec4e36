"""Tensors in a file, and what a disk may say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pixart_cli.diffusion.tensor_file import save_tensors

FULL = """
import resource, sys, torch
from pixart_cli.diffusion.tensor_file import save_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save_tensors({"a": torch.zeros(100_000)}, __import__("pathlib").Path(sys.argv[1]))
except OSError as error:
    print("OSError", error.errno)
"""


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
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a.safetensors")], capture_output=True, text=True,
        check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.stdout.startswith("OSError"), ran.stderr[-500:]
