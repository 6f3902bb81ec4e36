"""The transformer's blocks through torch's compiler: the same function for all of them, compiled once.

It fuses what stands between the matrix products, which changes the order of rounding. What is compiled holds
for one process and one shape: the first picture waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

Run = Callable[..., Tensor]
_SHAPES: Final = 128  # as many as a batch has sizes, kinds of guidance and blocks


class Compiled:
    """`run` through the compiler, and as it is once that has failed.

    Attributes:
        failure: why it does, in a few words; "" while all is well.
    """

    def __init__(self, run: Run, backend: str = "inductor") -> None:
        self.failure = ""
        self._plain = run
        self._compiled: Run = torch.compile(run, backend=backend)

    def __call__(self, *args: Any) -> Tensor:
        """What `run` gives, but for rounding."""
        if self.failure:
            return self._plain(*args)
        try:
            return self._compiled(*args)
        except _failures() as error:
            self.failure = _briefly(error)
            return self._plain(*args)


@contextmanager
def compiling(transformer: Any, *, on: bool) -> Iterator[None]:
    """Within, every `forward.Forward` made for `transformer` compiles its blocks, if `on`."""
    if not on:
        yield
        return
    transformer.compiles = True
    try:
        with _many_shapes():
            yield
    finally:
        del transformer.compiles


@cache
def compiled(run: Run) -> Compiled:
    """`run`, compiled when it is first called; the same object every time."""
    return Compiled(run)


def _many_shapes() -> AbstractContextManager[object]:
    """Within, torch compiles for as many shapes as a batch may have, and says so when it stops.

    After eight it would run everything as it is, without a word.
    """
    from torch._dynamo import config

    if not hasattr(config, "fail_on_recompile_limit_hit"):  # before torch 2.6
        return nullcontext()
    many: AbstractContextManager[object] = config.patch(
        recompile_limit=_SHAPES, fail_on_recompile_limit_hit=True
    )
    return many


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What the compiler raises for itself, as where there is no C++ compiler; not what its result does."""
    from torch._dynamo import exc

    found: list[type[Exception]] = [exc.TorchDynamoException]
    if limit := getattr(exc, "FailOnRecompileLimitHit", None):
        found.append(limit)
    try:
        from torch._inductor.exc import InductorError
    except ImportError:  # before torch 2.7
        return tuple(found)
    return (*found, InductorError)


def _briefly(error: Exception) -> str:
    """The first line of the innermost error."""
    inner: BaseException = error
    while (deeper := getattr(inner, "inner_exception", None) or inner.__cause__) is not None:
        inner = deeper
    lines = str(inner).strip().splitlines() or [""]
    return f"{type(inner).__name__}: {lines[0]}"[:200]
