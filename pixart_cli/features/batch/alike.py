"""Whether workers give the same bits for the same request: by versions, kind of device, and precision."""

from __future__ import annotations

from pixart_cli.features.batch.painter import Hello, versions


class Alike:
    """What all workers have to draw with: the versions of this process, and the arithmetic of the first.

    Args:
        on_gpu: whether each was given one.
    """

    def __init__(self, *, on_gpu: bool) -> None:
        self._versions, self._on_gpu = versions(), on_gpu
        self._first: dict[str, tuple[str, tuple[str, str]]] = {}

    def otherwise(self, name: str, hello: Hello) -> str:
        """What the worker `name` does otherwise, as "has torch 2.6 and not 2.7"; nothing if it does not."""
        other = [f"{key} {hello.versions.get(key)} and not {own}" for key, own in self._versions.items()
                 if hello.versions.get(key) != own]  # fmt: skip
        if other:
            return f"has {', '.join(other)}"
        for model, (device, dtype) in hello.arithmetic.items():
            if self._on_gpu and device == "cpu":
                return f"was given a GPU and would draw {model} on the processor"
            first, usual = self._first.setdefault(model, (name, (device, dtype)))
            if (device, dtype) != usual:
                others = f"in {usual[1]} on {usual[0]} as {first}"
                return f"would draw {model} in {dtype} on {device}, and not {others}"
        return ""
