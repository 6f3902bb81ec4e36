"""Where a network's weights are while it works, and what running out of memory looks like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from pixart_cli.diffusion.device import MemoryPlan

# torch's processor allocator raises a plain RuntimeError; MPS, cuBLAS and pinned memory do too, and
# oneDNN says no more than this when it can have no memory for the code or the scratch of a convolution.
_SIGNS: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "could not create a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def return_unused(device: str) -> None:
    """Give back to the system what torch keeps on `device` for later; on the processor it keeps nothing."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


@contextmanager
def on_device(network: torch.nn.Module, plan: MemoryPlan) -> Iterator[None]:
    """`network` ready to run on the plan's device while the block lasts.

    "full" leaves it there, "offload" takes it back, "low" keeps the weights in main memory and sends
    them through the device layer by layer. On the processor there is nowhere to go.
    """
    if plan.on_cpu or plan.offload == "full":
        network.to(plan.device)
        yield
    elif plan.offload == "offload":
        network.to(plan.device)
        try:
            yield
        finally:
            network.to("cpu")
    else:
        with _layer_by_layer(network, plan.device):
            yield


@contextmanager
def _layer_by_layer(network: torch.nn.Module, device: str) -> Iterator[None]:
    """While the block lasts, each module's own weights visit `device` for the time of its forward.

    What accelerate's `cpu_offload` does, without its detour over meta tensors. The weights in main
    memory are kept as they are, so nothing is copied back.
    """
    home: list[tuple[torch.nn.Module, str, torch.Tensor]] = []

    def bring(module: torch.nn.Module, _: object) -> None:
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            home.append((module, name, tensor))
            moved = tensor.data.to(device)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            setattr(module, name, torch.nn.Parameter(moved, requires_grad=False) if is_parameter else moved)

    def release(module: torch.nn.Module, *_: object) -> None:
        while home and home[-1][0] is module:
            setattr(*home.pop())

    hooks = [module.register_forward_pre_hook(bring) for module in network.modules()]
    hooks += [module.register_forward_hook(release, always_call=True) for module in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        while home:
            setattr(*home.pop())


@contextmanager
def cast(network: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """`network` in `dtype` while the block lasts. Up and back again is exact: float32 holds every half."""
    before = {id(tensor): tensor.dtype for tensor in (*network.parameters(), *network.buffers())}
    try:
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.to(dtype)
        yield
    finally:
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.to(before[id(tensor)])
