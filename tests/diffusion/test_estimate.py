"""The rules of thumb, held to what was measured on the real classes."""

import math

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.components import networks_of
from pixart_cli.core.refine import plan_passes
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.estimate import (
    NOTHING,
    Facts,
    decode_bytes,
    delivered_bytes,
    estimate,
    in_bands,
    pictures_together,
    windows,
)
from pixart_cli.diffusion.refine import starts
from pixart_cli.diffusion.rungs import PEER_RUNGS, RUNGS
from pixart_cli.diffusion.tensor_table import expected_tensors

GIB = 1 << 30


def test_flops_match_the_roofline_of_the_full_size_model():
    # 20 guided steps of 13.3 TFLOP, a decode of 10 and two short prompts of 0.4: 277 TFLOP at 1024 x 1024.
    assert estimate(catalog()["sigma-1024"], 1024, 1024, "bfloat16").flops == pytest.approx(2.77e14, rel=0.15)


def test_decode_memory_matches_the_measured_peak():
    # Measured in bands, above the weights, on the processor: 1142 MiB in float32, 597 in bfloat16.
    assert decode_bytes(128, 1024 * 1024, 4) == pytest.approx(1142 << 20, rel=0.2)
    assert decode_bytes(128, 1024 * 1024, 2) == pytest.approx(597 << 20, rel=0.2)
    peaks = estimate(catalog()["sigma-1024"], 1024, 1024, "float32").peak_bytes
    assert peaks["full", "whole"] >= 4.76e9 * 4
    assert max(peaks["full", "streamed"], peaks["offload", "streamed"]) < 4.76e9 * 4 / 2


def test_small_decodes_are_left_whole():
    assert not in_bands(16, 448 * 256, 4)
    assert not in_bands(16, 1024 * 512, 4)
    assert in_bands(128, 512 * 512, 4)
    assert decode_bytes(16, 256 * 256, 4) == 7.5 * 256 * 256 * 16 * 4


def test_bands_are_never_dearer_than_twice_the_limit_of_a_whole_decode():
    sides = [64 * n for n in range(1, 65)]
    peaks = [decode_bytes(128, side * side, 2) for side in sides]
    whole = [7.5 * 128 * side * side * 2 for side in sides]
    assert all(peak <= plain + (50 << 20) for peak, plain in zip(peaks, whole, strict=True))


@pytest.mark.parametrize("name", ["mini", "sigma-256", "sigma-2k", "alpha-512", "lcm"])
def test_less_memory_is_asked_for_at_every_step_down(name):
    spec = catalog()[name]
    peaks = estimate(spec, spec.native, spec.native, "bfloat16").peak_bytes
    rungs = [peaks[rung] for rung in RUNGS]
    assert rungs == sorted(rungs, reverse=True)
    assert rungs[-1] > 0


def test_unguided_models_take_half_the_steps_work():
    guided, unguided = catalog()["alpha-1024"], catalog()["lcm"]
    assert (
        estimate(unguided, 1024, 1024, "float32").flops < 0.2 * estimate(guided, 1024, 1024, "float32").flops
    )


def test_delivered_pixels_are_counted_twice():
    assert delivered_bytes(3840, 2160) == 2 * 3 * 3840 * 2160
    assert delivered_bytes(100, 100, large=True) == (6 + 36) * 10_000


def test_the_cascade_takes_a_seventh_of_what_direct_sampling_takes():
    """Of the work for 4096 x 4096 with the full-size model: 25.3 PFLOP direct, by the published counts."""
    spec = catalog()["sigma-1024"]
    passes = plan_passes("auto", spec, choose_bin(4096, 4096, 1024), 4096, 4096)
    direct = estimate(spec, 4096, 4096, "bfloat16").flops
    assert direct == pytest.approx(25.3e15, rel=0.1)
    assert direct > 7 * estimate(spec, 1024, 1024, "bfloat16", passes).flops


def test_windows_are_counted_as_they_are_drawn():
    spec = catalog()["sigma-1024"]
    for size in ((2048, 2048), (3840, 2160), (7680, 4320)):
        for each in plan_passes("auto", spec, choose_bin(*size, 1024), *size):
            drawn = [len(starts(side // 8, 128, 0.3)) for side in (each.width, each.height)]
            assert windows(each, 1024) == drawn[0] * drawn[1]


def test_the_real_size_of_an_encoder_counts():
    spec = catalog()["sigma-1024"]
    small = Facts(parameters={"text_encoder": 123_000_000, "transformer": 610_000_000, "vae": 84_000_000})
    whole, less = (
        estimate(spec, 1024, 1024, "float32", facts=facts).peak_bytes for facts in (NOTHING, small)
    )
    assert less["full", "whole"] < whole["full", "whole"] / 4
    assert (
        whole["full", "whole"]
        == estimate(
            spec, 1024, 1024, "float32", facts=Facts(parameters={"text_encoder": 4_760_000_000})
        ).peak_bytes["full", "whole"]
    )


@pytest.mark.parametrize(("bits", "item"), [(8, 1.0), (4, 0.5 + 4 / 64)])
@pytest.mark.parametrize(("dtype", "rest"), [("bfloat16", 2), ("float32", 4)])
def test_a_quantised_encoder_is_counted_weight_by_weight(bits, item, dtype, rest):
    config = {
        "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "num_layers": 24, "vocab_size": 32128,
        "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    shapes = expected_tensors("text_encoder", config)
    del shapes["encoder.embed_tokens.weight"]  # the same table of words
    left = ("shared", "wo", "relative_attention_bias", "layer_norm")
    counted = sum(
        math.prod(shape) * (rest if any(word in name for word in left) else item)
        for name, shape in shapes.items()
    )
    peaks = estimate(catalog()["sigma-256"], 256, 256, dtype, facts=Facts(encoder_bits=bits)).peak_bytes
    assert peaks["full", f"{bits}-bit"] == pytest.approx(counted, rel=0.01)
    assert ("full", "streamed") in peaks
    assert ("full", "whole") not in peaks


def test_an_init_image_is_encoded_and_saves_steps():
    spec = catalog()["sigma-1024"]
    plain, all_anew, half = (
        estimate(spec, 1024, 1024, "float32", facts=Facts(strength=strength)).flops
        for strength in (None, 1.0, 0.5)
    )
    # Half a decode of 10 TFLOP; half of 20 guided steps of 13.3.
    assert all_anew - plain == pytest.approx(5e12, rel=0.1)
    assert all_anew - half == pytest.approx(133e12, rel=0.1)


@pytest.mark.parametrize("name", ["sdxl", "cascade"])
def test_what_is_not_pixarts_has_three_rungs(name):
    spec = catalog()[name]
    peaks = estimate(spec, 1024, 1024, "bfloat16").peak_bytes
    assert tuple(peaks) == PEER_RUNGS
    assert sorted(peaks.values(), reverse=True) == list(peaks.values())
    tiny = Facts(parameters=dict.fromkeys(networks_of(spec.family), 1000))
    toy = estimate(spec, 1024, 1024, "bfloat16", facts=tiny).peak_bytes
    assert toy["full", "together"] < peaks["low", "together"]
    assert estimate(spec, 1024, 1024, "bfloat16").flops > 1e14


def test_as_many_pictures_share_a_forward_as_are_small_and_fit():
    spec = catalog()["sigma-512"]
    room = 40 << 30
    assert [pictures_together(spec, side, side, "bfloat16", room) for side in (256, 512, 1024, 2048)] == [
        16, 16, 4, 1,
    ]  # fmt: skip
    few = [pictures_together(spec, 512, 512, "bfloat16", mib << 20) for mib in (-1, 0, 200, 400, 1 << 20)]
    assert few == sorted(few)
    assert (few[0], few[-1]) == (1, 16)


def test_time_is_of_the_steps_that_are_asked_for():
    spec = catalog()["mini"]
    found = {
        name: estimate(spec, 4096, 4096, "float32", facts=Facts(**facts)).flops
        for name, facts in {
            "own": {}, "same": {"steps": 20, "guidance_scale": 4.5, "guidance_until": 0.7},
            "twice": {"steps": 40}, "unguided": {"guidance_scale": 1.0},
            "throughout": {"guidance_until": 1.0}, "end": {"strength": 0.3},
            "end, throughout": {"strength": 0.3, "guidance_until": 1.0},
        }.items()
    }  # fmt: skip
    assert found["own"] == found["same"]
    step = (found["throughout"] - found["own"]) / 6
    assert found["own"] - found["unguided"] == pytest.approx(14 * step)
    assert found["twice"] - found["own"] == pytest.approx(34 * step)
    assert found["end, throughout"] - found["end"] == pytest.approx(6 * step)


def test_peers_take_the_time_of_their_steps_too():
    spec = catalog()["sdxl"]
    own, twice = (
        estimate(spec, 1024, 1024, "float16", facts=Facts(steps=steps)).flops
        for steps in (spec.default_steps, 2 * spec.default_steps)
    )
    assert own < twice < 2 * own
