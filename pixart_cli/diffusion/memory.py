"""Where a network's weights are while it works, and what running out of memory looks like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.diffusion.convoy import Convoy, DtypeOf
from pixart_cli.diffusion.device import MemoryPlan

# torch's processor allocator raises a plain RuntimeError; MPS, cuBLAS and pinned memory do too, and
# oneDNN says no more than this when it can have no memory for the code or the scratch of a convolution.
# cuDNN's engines hide that each of them ran out, and cuBLAS that it had none to begin with.
_SIGNS: Final = (
    "DefaultCPUAllocator: can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
    "Triton Error [CUDA]: out of memory",
    "could not create a primitive",
)

# Those on their way at the moment, by the id of their network.
_convoys: Final[dict[int, Convoy]] = {}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def says_out_of_memory(report: str) -> bool:
    """Whether `report`, of a library that keeps the error itself, says that memory ran out."""
    return any(sign in report for sign in (*_SIGNS, "OutOfMemoryError", "MemoryError"))


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
    them through the device block by block. On the processor there is nowhere to go.
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
        with passing(network, plan.device):
            yield


@contextmanager
def encoding(encoder: torch.nn.Module, plan: MemoryPlan, dtype_of: DtypeOf) -> Iterator[None]:
    """As :func:`on_device` for the text encoder, which may have to stay in the file's own precision.

    A quantised one is on the device since it was loaded, and moves no more.

    Args:
        dtype_of: the precision that each of its weights is used in, by name.
    """
    if plan.streams_encoder:
        with passing(encoder, plan.device, dtype_of):
            yield
    elif plan.encoder_bits != UNQUANTISED:
        yield
    else:
        with on_device(encoder, plan):
            yield


@contextmanager
def passing(network: torch.nn.Module, device: str, dtype_of: DtypeOf | None = None) -> Iterator[None]:
    """Within, the weights of `network` visit `device` while they are needed, cast as `dtype_of` says.

    Its main list of blocks goes one by one, the next copied while one works; every other module's own
    weights come for the time of its forward. What accelerate's `cpu_offload` and diffusers' group offloading
    do, but a forward of our own that calls no block as a whole is served too, weights may stay mapped from
    their file, and nothing is copied back: those in main memory are kept as they are.
    """
    convoy = _convoys[id(network)] = Convoy(network, device, dtype_of)
    try:
        yield
    finally:
        del _convoys[id(network)]
        convoy.end()


@contextmanager
def cast(network: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """`network` in `dtype` while the block lasts. Up and back again is exact: float32 holds every half."""
    _call_home(network)
    before = {id(tensor): tensor.dtype for tensor in (*network.parameters(), *network.buffers())}
    try:
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.to(dtype)
        yield
    finally:
        _call_home(network)
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.to(before[id(tensor)])


def _call_home(network: torch.nn.Module) -> None:
    """Let the weights of `network` be its own, and not copies on a device."""
    if id(network) in _convoys:
        _convoys[id(network)].rest()
