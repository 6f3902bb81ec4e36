"""What is said of a worker that would draw otherwise than the others."""

import pytest

from pixart_cli.features.batch.alike import Alike
from pixart_cli.features.batch.painter import Hello, versions

GPU = ("cuda", "bfloat16")


def hello(arithmetic, **other):
    return Hello(host="host", life="1", versions=versions() | other, arithmetic=arithmetic)


def test_alike_workers_are_alike_and_a_model_that_is_missing_somewhere_is_no_difference():
    alike = Alike(on_gpu=True)
    for arithmetic in ({"mini": GPU, "sigma-1024": GPU}, {"mini": GPU}, {"sigma-1024": GPU}):
        assert alike.otherwise("worker", hello(arithmetic)) == ""


@pytest.mark.parametrize(
    ("arithmetic", "other", "what"),
    [
        ({}, {"torch": "1.0"}, "has torch 1.0 and not "),
        ({}, {"pixart": "0.0"}, "has pixart 0.0 and not "),
        (
            {"mini": ("cuda", "float16")},
            {},
            "would draw mini in float16 on cuda, and not in bfloat16 on cuda as worker 1",
        ),
        ({"mini": ("cpu", "float32")}, {}, "was given a GPU and would draw mini on the processor"),
    ],
)
def test_the_difference_is_named(arithmetic, other, what):
    alike = Alike(on_gpu=True)
    assert alike.otherwise("worker 1", hello({"mini": GPU})) == ""
    assert alike.otherwise("worker 2", hello(arithmetic, **other)).startswith(what)


def test_who_comes_first_without_a_gpu_is_no_measure_for_the_others():
    alike = Alike(on_gpu=True)
    assert alike.otherwise("worker 1", hello({"mini": ("cpu", "float32")}))
    assert alike.otherwise("worker 2", hello({"mini": GPU})) == ""


def test_on_processors_the_processor_is_no_difference():
    alike = Alike(on_gpu=False)
    assert alike.otherwise("worker 1", hello({"mini": ("cpu", "float32")})) == ""
