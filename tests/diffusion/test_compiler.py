"""torch's compiler: the same numbers, one compilation for all blocks, and a way on where it fails."""

import dataclasses
import types

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from pixart_cli.diffusion import compiler, forward, renderer
from pixart_cli.diffusion.compiler import Compiled, compiling
from pixart_cli.diffusion.forward import Forward, run_block
from pixart_cli.diffusion.renderer import NetworkRenderer
from tests.toy_model import toy_transformer

NOTHING = {"resolution": None, "aspect_ratio": None}


@pytest.fixture
def counter():
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


@pytest.fixture
def through(monkeypatch, counter):
    """What the blocks go through: all of torch's compiler but its last part, which makes machine code."""
    compiled = Compiled(run_block, backend=counter)
    for module in (forward, renderer):
        monkeypatch.setattr(module, "compiled", lambda _run: compiled)
    return compiled


def predict(transformer, *, on, branches=2):
    generator = torch.Generator().manual_seed(1)
    embeds = [torch.randn(length, 16, generator=generator) for length in (1, 5)]
    latents = torch.randn(1, 4, 16, 12, generator=generator)
    with compiling(transformer, on=on), torch.inference_mode():
        made = Forward(transformer, embeds, NOTHING)
        return torch.cat([made(latents, torch.tensor([t])) for t in (900.0, 400.0)])


def test_the_same_numbers_from_one_piece_for_all_blocks(through, counter):
    transformer = toy_transformer(num_layers=6).eval()
    plain, compiled = (predict(transformer, on=on) for on in (False, True))
    assert torch.allclose(plain, compiled, atol=1e-5)
    assert not through.failure
    # The first block goes from one branch to two, all others from two to two; none is split by a break.
    assert counter.frame_count == 2


def test_nothing_is_compiled_afterwards(counter, through):
    transformer = toy_transformer().eval()
    with compiling(transformer, on=True):
        pass
    predict(transformer, on=False)
    assert counter.frame_count == 0


def test_what_fails_to_compile_runs_as_it_is(monkeypatch):
    def broken(_module, _inputs):
        raise RuntimeError("no C++ compiler here\nand much more")

    compiled = Compiled(run_block, backend=broken)
    monkeypatch.setattr(forward, "compiled", lambda _run: compiled)
    transformer = toy_transformer().eval()
    assert torch.equal(predict(transformer, on=True), predict(transformer, on=False))
    assert compiled.failure == "RuntimeError: no C++ compiler here"


def test_a_batch_of_many_sizes_is_compiled_to_the_last(counter):
    compiled = Compiled(lambda tensor: tensor * 2 + len(tensor), backend=counter)
    anything = types.SimpleNamespace()
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False), compiling(anything, on=True):
        for size in range(2, 22):  # torch's own limit is eight
            compiled(torch.ones(size))
    assert (counter.frame_count, compiled.failure) == (20, "")


def test_shapes_beyond_all_bounds_run_as_they_are_and_it_is_said(counter, monkeypatch):
    monkeypatch.setattr(compiler, "_SHAPES", 3)
    compiled = Compiled(lambda tensor: tensor * 2 + len(tensor), backend=counter)
    anything = types.SimpleNamespace()
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False), compiling(anything, on=True):
        found = [float(compiled(torch.ones(size)).sum()) for size in range(2, 8)]
    assert found == [size * (2.0 + size) for size in range(2, 8)]
    assert "recompile limit" in compiled.failure


def test_an_error_of_the_computation_is_no_failure_of_the_compiler():
    def run(tensor):
        return tensor @ torch.ones(7, 7)

    with pytest.raises(RuntimeError):
        Compiled(run, backend="eager")(torch.ones(3, 3))


def test_a_picture_says_that_it_was_compiled(toy, cpu_plan, request_for, through):
    def draw(**changes):
        plan = dataclasses.replace(cpu_plan, **changes)
        (drawn,) = NetworkRenderer(plan, toy).render([request_for()], on_progress=lambda event: None)
        return drawn.provenance.get("compiled"), " ".join(drawn.warnings)

    assert draw() == (None, "")
    assert draw(compiled=True) == (True, "")
    assert draw(compiled=True, offload="low") == (
        None, "drawn without torch's compiler: with memory low the weights do not stay on the device",
    )  # fmt: skip
    through.failure = "no compiler"
    assert draw(compiled=True) == (None, "drawn without torch's compiler: no compiler")
