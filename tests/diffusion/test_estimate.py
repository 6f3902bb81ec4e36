"""The rules of thumb, held to what was measured on the real classes."""

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.diffusion.estimate import delivered_bytes, estimate

GIB = 1 << 30


def test_flops_match_the_roofline_of_the_full_size_model():
    # 20 guided steps of 13.3 TFLOP, a decode of 10 and two short prompts of 0.4: 277 TFLOP at 1024 x 1024.
    assert estimate(catalog()["sigma-1024"], 1024, 1024, "bfloat16").flops == pytest.approx(2.77e14, rel=0.15)


def test_decode_memory_matches_the_measured_peak():
    # Measured: 3.9 GB above the weights for a float32 decode at 1024 x 1024.
    peaks = estimate(catalog()["sigma-1024"], 1024, 1024, "float32").peak_bytes
    assert peaks["offload"] >= 4.76e9 * 4
    assert estimate(catalog()["sigma-1024"], 1024, 1024, "float16").peak_bytes["full"] > 3.9e9


@pytest.mark.parametrize("name", ["mini", "sigma-256", "sigma-2k", "alpha-512", "lcm"])
def test_less_memory_is_asked_for_at_every_step_down(name):
    spec = catalog()[name]
    peaks = estimate(spec, spec.native, spec.native, "bfloat16").peak_bytes
    assert peaks["full"] >= peaks["offload"] >= peaks["low"] > 0


def test_unguided_models_take_half_the_steps_work():
    guided, unguided = catalog()["alpha-1024"], catalog()["lcm"]
    assert (
        estimate(unguided, 1024, 1024, "float32").flops < 0.2 * estimate(guided, 1024, 1024, "float32").flops
    )


def test_delivered_pixels_are_counted_twice():
    assert delivered_bytes(3840, 2160) == 2 * 3 * 3840 * 2160
