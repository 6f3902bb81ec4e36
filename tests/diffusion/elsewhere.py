"""A stand-in for a GPU: tensors on "meta", whose copies in main memory are made up, and which never mix.

torch lets an operation mix devices only where one tensor is a single number on the processor, or an index; on
"meta" it does not look at all. This does, so code that forgets to bring a tensor along fails here as there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
_MAY_MIX = {_aten._to_copy.default, _aten.copy_.default, _aten.index.Tensor}


class Elsewhere(TorchDispatchMode):
    """Within, "meta" is a device with contents: numbers around 0.5, which come home in order."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        if not any(each.is_meta for each in tensors):
            return func(*args, **kwargs)
        with self:  # in inference mode operations come here that are made of others
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        here = [each for each in tensors if not each.is_meta and each.dim() > 0]
        if here and func not in _MAY_MIX:
            shapes = [(each.device.type, tuple(each.shape)) for each in tensors]
            raise RuntimeError(f"{func} mixes devices: {shapes}")
        if func is _aten._local_scalar_dense.default:
            return _made_up(tensors[0].shape, tensors[0].dtype).item()
        if func is _aten.nonzero.default:
            return torch.empty((1, tensors[0].dim()), dtype=torch.long, device="meta")
        if func is _aten._to_copy.default and torch.device(kwargs.get("device") or "meta").type == "cpu":
            return _made_up(tensors[0].shape, kwargs.get("dtype") or tensors[0].dtype)
        if func is _aten.copy_.default and not args[0].is_meta:
            return args[0].copy_(_made_up(args[0].shape, args[0].dtype))
        return func(*args, **kwargs)


def _made_up(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    return torch.linspace(0.25, 0.75, shape.numel()).view(shape).to(dtype)
