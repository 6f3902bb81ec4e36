"""Plans for machines that are not here: the probe is made up, the plan is real."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.device import RUNGS, Accelerator, Facts, Machine, plan
from pixart_cli.diffusion.estimate import estimate

GIB = 1 << 30
LAPTOP = Machine(
    architecture="x86_64", cores=8, memory_bytes=16 * GIB, free_memory_bytes=12 * GIB, cpu_bf16=False
)
SERVER = dataclasses.replace(LAPTOP, cpu_bf16=True, memory_bytes=64 * GIB, free_memory_bytes=60 * GIB)
H100 = Accelerator(
    kind="cuda", index=0, name="NVIDIA H100", total_bytes=80 * GIB, free_bytes=78 * GIB, bf16=True, flops=4e14
)
T4 = Accelerator(
    kind="cuda", index=1, name="Tesla T4", total_bytes=15 * GIB, free_bytes=14 * GIB, bf16=False, flops=2e13
)
APPLE = Accelerator(
    kind="mps", index=0, name="Apple GPU", total_bytes=24 * GIB, free_bytes=20 * GIB, bf16=True
)
MINI, SIGMA = catalog()["mini"], catalog()["sigma-1024"]


def with_gpu(*accelerators):
    return dataclasses.replace(SERVER, accelerators=accelerators)


@pytest.mark.parametrize(
    ("machine", "spec", "device", "dtype", "offload"),
    [
        (LAPTOP, MINI, "cpu", "float32", "full"),
        (SERVER, MINI, "cpu", "float32", "full"),
        (SERVER, SIGMA, "cpu", "bfloat16", "full"),
        (LAPTOP, SIGMA, "cpu", "float32", "full"),
        (with_gpu(H100), SIGMA, "cuda:0", "bfloat16", "full"),
        (with_gpu(H100), MINI, "cuda:0", "float32", "full"),
        (with_gpu(T4), SIGMA, "cuda:1", "float16", "full"),
        (with_gpu(APPLE), SIGMA, "mps", "bfloat16", "full"),
        (with_gpu(dataclasses.replace(T4, free_bytes=4 * GIB)), SIGMA, "cuda:1", "float16", "full"),
        (with_gpu(dataclasses.replace(T4, free_bytes=1 * GIB)), SIGMA, "cuda:1", "float16", "low"),
    ],
)
def test_every_machine_has_its_plan(machine, spec, device, dtype, offload):
    decided = plan(machine, spec, 1024, 1024)
    assert (decided.device, decided.dtype, decided.offload) == (device, dtype, offload)
    assert decided.estimate_bytes > 0
    assert len(decided.reasons) == 3
    assert all(reason.endswith(".") for reason in decided.reasons)
    assert decided.on_cpu == (device == "cpu")


@pytest.mark.parametrize("name", ["sigma-1024", "sigma-2k"])
def test_every_rung_is_chosen_where_it_is_what_fits(name):
    spec = catalog()[name]
    size = spec.native, spec.native
    needs = [estimate(spec, *size, "bfloat16").peak_bytes[rung] for rung in RUNGS]
    assert needs == sorted(needs, reverse=True)
    for rung, need in zip(RUNGS, needs, strict=True):
        decided = plan(with_gpu(dataclasses.replace(H100, free_bytes=int(need / 0.9) + 1)), spec, *size)
        assert decided.rung == f"{rung[0]}, encoder {rung[1]}"
        assert decided.words in decided.reasons[-1]
        assert (decided.estimate_bytes, decided.tried) == (need, ())
    too_little = plan(with_gpu(dataclasses.replace(H100, free_bytes=needs[-1] // 2)), spec, *size)
    assert too_little.offload == "low"
    assert "may not fit" in too_little.reasons[-1]


def test_eight_gib_of_a_gpu_draw_at_full_speed_because_only_the_encoder_is_streamed():
    eight = dataclasses.replace(H100, free_bytes=int(7.5 * GIB))
    decided = plan(with_gpu(eight), SIGMA, 1024, 1024)
    assert (decided.offload, decided.encoder) == ("full", "streamed")
    assert decided.estimate_bytes < 4 * GIB
    assert "all at once would take 8.9" in decided.reasons[-1]


def test_sixteen_gib_without_a_gpu_keep_the_encoder_on_the_disk():
    decided = plan(LAPTOP, SIGMA, 1024, 1024)
    assert (decided.on_cpu, decided.encoder) == (True, "streamed")


def test_what_is_asked_for_is_done():
    machine = with_gpu(H100, T4)
    assert plan(machine, SIGMA, 512, 512, device="cuda").device == "cuda:0"
    assert plan(machine, SIGMA, 512, 512, device="cuda:1").device == "cuda:1"
    assert plan(machine, SIGMA, 512, 512, device="cpu").device == "cpu"
    assert plan(machine, SIGMA, 512, 512, memory="low").offload == "low"


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_an_absent_device_names_what_there_is(device):
    with pytest.raises(PixartError) as caught:
        plan(LAPTOP, MINI, 256, 256, device=device)
    assert caught.value.code == "device-unavailable"
    assert device in caught.value.message
    assert "cpu" in caught.value.hint


def test_a_picture_larger_than_memory_is_refused_with_the_number():
    small = dataclasses.replace(LAPTOP, memory_bytes=2 * GIB)
    with pytest.raises(PixartError) as caught:
        plan(small, MINI, 32768, 16384)
    assert caught.value.code == "size-invalid"
    assert "3.0 GiB" in caught.value.message


def test_plans_step_down_to_the_last():
    chosen = [plan(with_gpu(H100), SIGMA, 512, 512)]
    while (following := chosen[-1].step_down(encoding=True)) is not None:
        chosen.append(following)
    assert [(each.offload, each.encoder) for each in chosen] == list(RUNGS)
    assert chosen[-1].tried == tuple(each.rung for each in chosen[:-1])
    assert len(chosen[-1].reasons) == len(chosen[0].reasons) + 3
    assert all(each.words in each.reasons[-1] for each in chosen)


def test_what_spares_the_encoder_is_passed_over_when_drawing_took_the_memory():
    first = plan(with_gpu(H100), SIGMA, 512, 512)
    second = first.step_down()
    assert (second.offload, second.encoder) == ("offload", "streamed")
    assert second.step_down().offload == "low"
    assert second.step_down().step_down() is None


@pytest.mark.parametrize(("bits", "gib"), [(8, 5.5), (4, 4.0)])
def test_a_quantised_encoder_is_whole_and_tried_whatever_is_free(bits, gib):
    facts = Facts(encoder_bits=bits)
    room = plan(with_gpu(H100), SIGMA, 1024, 1024, facts=facts)
    assert (room.rung, room.encoder_bits, room.streams_encoder) == (f"full, encoder {bits}-bit", bits, False)
    assert room.estimate_bytes / GIB == pytest.approx(gib, abs=0.1)
    assert f"its weights in {bits} bits" in room.reasons[-1]
    # Free memory decides no pixels: what does not fit is tried, and its place is taken by an exact one then.
    tight = plan(
        with_gpu(dataclasses.replace(H100, free_bytes=int(3.5 * GIB))), SIGMA, 1024, 1024, facts=facts
    )
    assert tight.rung == room.rung
    assert "if it does not fit, it is streamed, exactly" in tight.reasons[-1]
    low = plan(with_gpu(dataclasses.replace(H100, free_bytes=GIB)), SIGMA, 1024, 1024, facts=facts)
    assert low.rung == f"low, encoder {bits}-bit"
    for memory in ("full", "offload", "low"):
        asked = plan(with_gpu(H100), SIGMA, 1024, 1024, memory=memory, facts=facts)
        assert asked.rung == f"{memory}, encoder {bits}-bit"


def test_below_a_quantised_encoder_is_one_that_is_streamed():
    first = plan(with_gpu(H100), SIGMA, 1024, 1024, facts=Facts(encoder_bits=8))
    second = first.step_down(encoding=True)
    assert (second.rung, second.encoder_bits) == ("full, encoder streamed", 16)
    assert (second.tried, second.words in second.reasons[-1]) == (("full, encoder 8-bit",), True)
    assert second.step_down(encoding=True).rung == "offload, encoder streamed"
    # While drawing the encoder is gone, and its bits stay.
    assert first.step_down().rung == "offload, encoder 8-bit"
    assert first.step_down().step_down().rung == "low, encoder 8-bit"
    assert first.step_down().step_down().step_down() is None
    assert first.step_down().step_down().step_down(encoding=True).rung == "low, encoder streamed"


def test_an_encoder_is_not_quantised_on_apples_gpu():
    with pytest.raises(PixartError, match="cannot be used on mps") as caught:
        plan(with_gpu(APPLE), SIGMA, 1024, 1024, facts=Facts(encoder_bits=4))
    assert caught.value.code == "request-invalid"
    assert plan(with_gpu(APPLE), SIGMA, 1024, 1024, device="cpu", facts=Facts(encoder_bits=4)).on_cpu


def test_the_vae_decodes_on_the_processor_where_memory_is_scarcest():
    low = plan(with_gpu(H100), SIGMA, 512, 512, memory="low")
    assert (low.for_vae().device, low.for_vae().dtype) == ("cpu", "float32")
    full = plan(with_gpu(H100), SIGMA, 512, 512)
    assert full.for_vae() is full


def test_time_grows_with_pixels_and_shrinks_with_speed():
    slow, fast = (plan(m, SIGMA, 1024, 1024).seconds_estimate for m in (LAPTOP, with_gpu(H100)))
    assert slow > 100 * fast
    assert plan(LAPTOP, catalog()["sigma-512"], 1024, 1024).seconds_estimate < slow
    assert plan(with_gpu(APPLE), SIGMA, 1024, 1024).seconds_estimate is None
    assert 1 < plan(LAPTOP, MINI, 3840, 2160).seconds_estimate * LAPTOP.cores < 20


def test_plans_and_weights_are_known_without_torch():
    code = "import sys; from pixart_cli.diffusion import device, hub, weights; weights.installed_models();"
    code += (
        "print({'torch', 'diffusers', 'transformers', 'accelerate', 'huggingface_hub'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_small_networks_of_a_folder_are_drawn_in_float32_and_large_ones_are_not():
    small, large = (Facts(parameters={"text_encoder": count}) for count in (100_000, 4_760_000_000))
    assert plan(SERVER, SIGMA, 1024, 1024, facts=small).dtype == "float32"
    assert plan(SERVER, SIGMA, 1024, 1024, facts=large).dtype == "bfloat16"


def test_models_that_are_not_pixarts_have_a_ladder_of_their_own():
    sdxl = catalog()["sdxl"]
    near = dataclasses.replace(H100, free_bytes=5 * GIB)
    assert (plan(with_gpu(H100), sdxl, 1024, 1024).rung) == "full, encoder together"
    first = plan(with_gpu(H100), sdxl, 1024, 1024)
    second = first.step_down()
    third = second.step_down()
    assert [each.words for each in (first, second, third)] == [
        "all networks stay on the device",
        "each network is on the device only while it works",
        "the weights pass through the device block by block; slow, but it fits",
    ]
    assert (third.step_down(), second.tried) == (None, ("full, encoder together",))
    assert plan(with_gpu(near), sdxl, 1024, 1024).offload == "low"
    assert plan(with_gpu(T4), sdxl, 1024, 1024).dtype == "float16"
    assert plan(with_gpu(T4), catalog()["cascade"], 1024, 1024).dtype == "float32"


def test_pictures_share_a_forward_on_an_accelerator_alone():
    assert plan(SERVER, MINI, 256, 256).together == 1
    assert plan(with_gpu(H100), MINI, 256, 256).together == 16
    assert plan(with_gpu(H100), SIGMA, 1024, 1024).together == 4
    assert plan(with_gpu(H100), SIGMA, 1024, 1024, memory="low").together >= 1
    small = dataclasses.replace(T4, free_bytes=2 * GIB)
    assert plan(with_gpu(small), SIGMA, 1024, 1024).together == 1
