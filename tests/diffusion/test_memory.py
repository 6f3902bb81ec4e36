"""Where weights are while a network works, and which errors mean that memory ran out."""

import dataclasses

import pytest
import torch

from pixart_cli.diffusion.memory import cast, is_out_of_memory, on_device, passing, says_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError("Unable to allocate 3 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("size of tensor a (5) must match"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_told_from_bugs(error, expected):
    assert is_out_of_memory(error) is expected


def test_torch_really_says_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)


def test_a_report_says_what_ran_out():
    assert says_out_of_memory("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    assert says_out_of_memory("... DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    assert not says_out_of_memory("RuntimeError: Error named symbol not found")


@pytest.fixture
def network():
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    return layers.eval().requires_grad_(requires_grad=False)


def contents(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(network, before):
    after = network.state_dict()
    return all(
        after[key].dtype is value.dtype and torch.equal(after[key], value) for key, value in before.items()
    )


@pytest.mark.parametrize("offload", ["full", "offload", "low"])
def test_a_network_works_under_every_plan_and_is_whole_after(network, cpu_plan, offload):
    inputs = torch.randn(3, 4)
    expected, before = network(inputs), contents(network)
    with on_device(network, dataclasses.replace(cpu_plan, device="cpu:0", offload=offload)):
        assert torch.equal(network(inputs), expected)
    assert same(network, before)
    assert torch.equal(network(inputs), expected)


def test_low_brings_each_layer_to_the_device_and_leaves_the_rest_at_home(network, cpu_plan):
    before = contents(network)
    seen = []
    probe = network[2].register_forward_pre_hook(
        lambda *_: seen.append([p.device.type for p in network.parameters()])
    )
    with on_device(network, dataclasses.replace(cpu_plan, device="meta", offload="low")):
        output = network(torch.randn(3, 4, device="meta"))
    probe.remove()
    assert output.is_meta
    assert seen == [["cpu"] * 6]  # asked just before the last layer's own weights leave: all others are back
    assert same(network, before)


def test_low_is_whole_again_after_an_error(network, cpu_plan):
    before = contents(network)
    with (
        pytest.raises(RuntimeError),
        on_device(network, dataclasses.replace(cpu_plan, device="meta", offload="low")),
    ):
        network(torch.randn(3, 5, device="meta"))
    assert same(network, before)
    assert network(torch.randn(3, 4)).shape == (3, 2)


def test_a_network_whose_blocks_pass_by_can_be_cast_in_between():
    blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))
    network = torch.nn.ModuleDict({"blocks": blocks}).half().eval().requires_grad_(requires_grad=False)
    before = contents(network)
    with passing(network, "cpu:0"):
        blocks[1](torch.ones(1, 4, dtype=torch.float16))
        with cast(network, torch.float32):
            for block in blocks:
                assert block(torch.ones(1, 4)).dtype is torch.float32
        assert blocks[1](torch.ones(1, 4, dtype=torch.float16)).dtype is torch.float16
    assert same(network, before)


def test_cast_comes_back_exactly(network):
    before = contents(network.half())
    with cast(network, torch.float32):
        assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert same(network, before)
