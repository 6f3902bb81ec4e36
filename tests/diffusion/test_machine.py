"""The probe: what it says of this machine, and of GPUs that are made up."""

import types

import torch

from pixart_cli.diffusion import machine as rooms
from pixart_cli.diffusion.machine import Accelerator, Machine, probe


def test_probe_sees_this_machine():
    machine = probe()
    assert machine.cores >= 1
    assert 0 < machine.free_memory_bytes <= machine.memory_bytes
    assert machine.devices()[-1] == "cpu"
    assert machine.torch_version == torch.__version__
    assert ("cuda:0" in machine.devices()) == torch.cuda.is_available()


def test_a_container_limit_bounds_memory(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1000000\n")
    monkeypatch.setattr(rooms, "_CGROUP_LIMITS", (str(tmp_path / "absent"), str(limit)))
    assert probe().memory_bytes == 1_000_000
    limit.write_text("max\n")
    assert probe().memory_bytes > 1_000_000


def test_every_gpu_is_seen_with_its_free_memory(monkeypatch):
    cards = [
        types.SimpleNamespace(name="NVIDIA H100", major=9, multi_processor_count=132, total_memory=20),
        types.SimpleNamespace(name="Tesla T4", major=7, multi_processor_count=40, total_memory=21),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (10 + index, 20 + index))
    first, second = probe().accelerators[:2]
    assert (first.device, first.free_bytes, first.total_bytes, first.bf16) == ("cuda:0", 10, 20, True)
    assert (second.device, second.name, second.bf16) == ("cuda:1", "Tesla T4", False)
    assert first.flops > second.flops


def test_a_gpu_that_others_have_filled_is_no_matter_of_the_rest(monkeypatch):
    def asked(index):
        if index:
            raise RuntimeError("CUDA error: out of memory")
        return 10, 20

    card = types.SimpleNamespace(name="NVIDIA H100", major=9, multi_processor_count=132, total_memory=20)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", asked)
    assert [each.free_bytes for each in probe().accelerators[:2]] == [10, 0]


def test_apple_is_one_device():
    gpu = Accelerator(kind="mps", index=0, name="Apple GPU", total_bytes=2, free_bytes=1, bf16=True)
    machine = Machine(
        architecture="arm64",
        cores=8,
        memory_bytes=4,
        free_memory_bytes=2,
        cpu_bf16=False,
        accelerators=(gpu,),
    )
    assert machine.devices() == ("mps", "cpu")
