"""Weights that pass through the device: a block's come when it is used, the next one's meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

DtypeOf = Callable[[str], torch.dtype]


@dataclass(frozen=True)
class _Weight:
    """One parameter or buffer at home: where it is hung up, what it is called, and itself."""

    module: torch.nn.Module
    name: str
    key: str
    home: torch.Tensor

    def hang(self, tensor: torch.Tensor) -> None:
        """Let the module use `tensor` in its place."""
        own = isinstance(self.home, torch.nn.Parameter) and not isinstance(tensor, torch.nn.Parameter)
        setattr(self.module, self.name, torch.nn.Parameter(tensor, requires_grad=False) if own else tensor)


class Convoy:
    """Brings the weights of `network` to `device`, in the precision of `dtype_of`, until :meth:`end`.

    A block is there from when it, or any of its layers, is called until another one is: a forward that calls
    the layers itself is served as well. Copies are made on a stream of their own where the device has any.
    """

    def __init__(self, network: torch.nn.Module, device: str, dtype_of: DtypeOf | None = None) -> None:
        self._device = torch.device(device)
        self._dtype_of = dtype_of
        self._blocks = [_weights(block.named_modules(prefix=key)) for key, block in _blocks(network)]
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._here: int | None = None
        self._ahead: tuple[int, _Copy] | None = None
        self._visits: list[tuple[torch.nn.Module, list[_Weight]]] = []
        self._hooks = [*self._hooks_of_blocks(network), *self._hooks_of_others(network)]

    def end(self) -> None:
        """Take all weights home."""
        for hook in self._hooks:
            hook.remove()
        self.rest()

    def rest(self) -> None:
        """Take all weights home until they are needed again: somebody wants to change them."""
        self._leave()
        self._ahead = None
        while self._visits:
            _hang_home(self._visits.pop()[1])

    def _hooks_of_blocks(self, network: torch.nn.Module) -> Iterator[Any]:
        for index, (_, block) in enumerate(_blocks(network)):
            for module in block.modules():
                yield module.register_forward_pre_hook(self._entering(index))

    def _hooks_of_others(self, network: torch.nn.Module) -> Iterator[Any]:
        inside = {id(module) for _, block in _blocks(network) for module in block.modules()}
        for key, module in network.named_modules():
            if id(module) not in inside:
                weights = _weights([(key, module)])
                yield module.register_forward_pre_hook(self._bringing(module, weights))
                yield module.register_forward_hook(self._releasing(module), always_call=True)

    def _entering(self, index: int) -> Callable[..., None]:
        def enter(*_: object) -> None:
            if self._here == index:
                return
            self._leave()
            ahead = self._ahead
            copy = ahead[1] if ahead is not None and ahead[0] == index else self._copy(index)
            self._ahead = None
            copy.hang(self._device)
            self._here = index
            following = (index + 1) % len(self._blocks)
            if following != index:
                self._ahead = following, self._copy(following)

        return enter

    def _leave(self) -> None:
        if self._here is not None:
            _hang_home(self._blocks[self._here])
            self._here = None

    def _bringing(self, module: torch.nn.Module, weights: list[_Weight]) -> Callable[..., None]:
        def bring(*_: object) -> None:
            self._visits.append((module, weights))
            for weight in weights:
                weight.hang(self._moved(weight))

        return bring

    def _releasing(self, module: torch.nn.Module) -> Callable[..., None]:
        def release(*_: object) -> None:
            while self._visits and self._visits[-1][0] is module:
                _hang_home(self._visits.pop()[1])

        return release

    def _copy(self, index: int) -> _Copy:
        return _Copy(self._blocks[index], self._moved, self._stream)

    def _moved(self, weight: _Weight) -> torch.Tensor:
        """A copy on the device, cast there: what crosses is as long as what is stored."""
        moved = weight.home.data.to(self._device, non_blocking=self._stream is not None)
        if self._dtype_of is None or not moved.is_floating_point():
            return moved
        return moved.to(self._dtype_of(weight.key))


class _Copy:
    """The weights of one block on their way, on `stream` if there is one."""

    def __init__(
        self,
        weights: list[_Weight],
        moved: Callable[[_Weight], torch.Tensor],
        stream: torch.cuda.Stream | None,
    ) -> None:
        self._weights = weights
        self._there: torch.cuda.Event | None = None
        if stream is None:
            self._tensors = [moved(weight) for weight in weights]
            return
        with torch.cuda.stream(stream):
            self._tensors = [moved(weight) for weight in weights]
            self._there = stream.record_event()

    def hang(self, device: torch.device) -> None:
        """Let the block use them, from when they are there; their memory is free when its work is done."""
        if self._there is not None:
            working = torch.cuda.current_stream(device)
            working.wait_event(self._there)
            for tensor in self._tensors:
                tensor.record_stream(working)
        for weight, tensor in zip(self._weights, self._tensors, strict=True):
            weight.hang(tensor)


def _blocks(network: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """(name, block) of the list of blocks that holds most of the weights; none of a network without lists."""
    lists = [(key, each) for key, each in network.named_modules() if isinstance(each, torch.nn.ModuleList)]
    if not lists:
        return []
    key, longest = max(lists, key=lambda pair: sum(weight.numel() for weight in pair[1].parameters()))
    return [(f"{key}.{name}", block) for name, block in longest.named_children()]


def _weights(modules: Iterable[tuple[str, torch.nn.Module]]) -> list[_Weight]:
    """The own weights of `modules`, which are (name, module)."""
    return [
        _Weight(module, name, f"{key}.{name}", tensor)
        for key, module in modules
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]


def _hang_home(weights: Iterable[_Weight]) -> None:
    for weight in weights:
        weight.hang(weight.home)
