"""Tiers by free memory; files that have no name, reserve their room and leave nothing."""

import gc
import resource
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import spill
from pixart_cli.diffusion.spill import TIERS, MappedFile, Mapping, choose_tier, lower_tier

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
MIB = 1 << 20


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def mapped_under(folder):
    gc.collect()
    maps = Path("/proc/self/maps")
    return str(folder) in maps.read_text() if maps.exists() else False


def test_a_little_stays_on_the_device_and_too_much_is_spilled():
    assert choose_tier(CPU, 1 << 10) == "device"
    assert choose_tier(CPU, 1 << 60) == "mapped"


def test_an_accelerator_has_main_memory_between(monkeypatch):
    monkeypatch.setattr(spill, "_free", lambda device: (10 * MIB, 100 * MIB))
    assert [choose_tier(GPU, needed * MIB) for needed in (6, 8, 49, 60)] == [
        "device", "pinned", "pinned", "mapped",
    ]  # fmt: skip


def test_a_named_tier_is_taken_whatever_is_free():
    assert [choose_tier(GPU, 1 << 60, name) for name in TIERS] == list(TIERS)
    assert [choose_tier(CPU, 0, name) for name in TIERS] == ["device", "device", "mapped"]
    with pytest.raises(ValueError, match="storage must be auto or one of device, pinned, mapped"):
        choose_tier(CPU, 0, "tape")


def test_tiers_step_down_to_the_last():
    assert [lower_tier(GPU, name) for name in TIERS] == ["pinned", "mapped", None]
    assert [lower_tier(CPU, name) for name in ("device", "mapped")] == ["mapped", None]


def test_what_is_written_is_read_and_no_file_is_seen(scratch):
    file = MappedFile(8 * MIB)
    assert list(scratch.iterdir()) == []
    tensor = file.tensor(MIB, (2, 3, 5), torch.bfloat16)
    values = torch.randn(2, 3, 5).bfloat16()
    tensor.copy_(values)
    file.settle(0, 8 * MIB)
    assert torch.equal(tensor, values)
    again = file.tensor(MIB, (30,), torch.bfloat16)
    assert torch.equal(again, values.flatten())


def test_what_is_forgotten_harms_no_neighbour(scratch):
    file = MappedFile(4 * MIB)
    tensor = file.tensor(0, (MIB,), torch.float32).fill_(7.0)
    file.forget(MIB + 1, 2 * MIB + 1)
    assert bool((tensor[: (MIB + 4) // 4] == 7).all())
    assert bool((tensor[2 * MIB // 4 :] == 7).all())


def test_memory_is_taken_page_by_page_and_given_back():
    mapping = Mapping(8 * MIB)
    tensor = mapping.tensor(0, (2 * MIB,), torch.float32).fill_(5.0)
    mapping.forget(2 * MIB, 4 * MIB + 1)
    assert bool((tensor[: MIB // 2] == 5).all())
    assert bool((tensor[MIB:] == 5).all())
    if sys.platform == "linux":
        assert bool((tensor[MIB // 2 : MIB] == 0).all())


def test_too_large_a_mapping_is_an_error_of_memory():
    with pytest.raises(MemoryError):
        Mapping(1 << 60)


def test_a_tensor_keeps_the_file_and_nothing_else_does(scratch):
    tensor = MappedFile(MIB).tensor(0, (4,), torch.float32)
    tensor.fill_(3.0)
    assert tensor.sum() == 12
    del tensor
    assert not mapped_under(scratch)


def test_a_full_disk_is_said_so(scratch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, hard))
    try:
        with pytest.raises(PixartError, match="64 MiB of working space cannot be had") as caught:
            MappedFile(64 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk"
    assert "TMPDIR" in caught.value.hint
    assert list(scratch.iterdir()) == []
    assert not mapped_under(scratch)


def test_without_fallocate_the_room_is_written(scratch, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    tensor = MappedFile(2 * MIB + 5).tensor(0, (MIB // 2,), torch.float32)
    assert tensor.sum() == 0


def test_a_missing_folder_is_an_error_of_the_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(PixartError) as caught:
        MappedFile(MIB)
    assert caught.value.code == "disk"


def test_the_folder_is_seldom_memory(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    assert spill._folder() in {Path("/var/tmp"), Path(tempfile.gettempdir())}
