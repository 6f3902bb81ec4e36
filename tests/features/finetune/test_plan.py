"""Plans: what a configuration leads to, before anything is loaded."""

import dataclasses
import json
import shutil

import pytest

from pixart_cli.diffusion.machine import Accelerator, Machine
from pixart_cli.features.finetune.plan import plan_training
from tests.features.finetune.conftest import png, refused
from tests.toy_model import build_toy_alpha, build_toy_model, toy_vae

CPU = Machine(architecture="x86_64", cores=2, memory_bytes=8 << 30, free_memory_bytes=4 << 30, cpu_bf16=False)
GPU = Accelerator(
    kind="cuda", index=0, name="a GPU", total_bytes=24 << 30, free_bytes=20 << 30, bf16=True, flops=1e14
)


def test_shapes_are_the_bins_that_crop_least(configure) -> None:
    plan = plan_training(configure(), machine=CPU)
    assert plan.shapes() == {"432x144": 3, "144x432": 3}
    assert (plan.native, plan.team.whole, plan.epochs) == (256, 2, pytest.approx(4 / 6))
    assert plan.enlarged == 6


def test_squares_alone_where_no_bins_are_wanted(configure) -> None:
    assert plan_training(configure(aspect_bins=False), machine=CPU).shapes() == {"256x256": 6}


def test_a_model_can_be_brought_to_4k(configure) -> None:
    plan = plan_training(configure(image_size=4096, kv_compression="conv:2:deep"), machine=CPU)
    assert (plan.native, plan.shapes()["6912x2304"]) == (4096, 3)


def test_the_toy_predicts_noise_and_learns_its_variance(configure) -> None:
    plan = plan_training(configure(), machine=CPU)
    assert (plan.prediction_type, plan.learn_sigma, plan.precision) == ("epsilon", True, "float32")
    assert not plan_training(configure(learn_sigma="off"), machine=CPU).learn_sigma
    assert not plan_training(configure(method="lora"), machine=CPU).learn_sigma


def test_a_gpu_s_memory_counts_and_half_precision_halves_it(configure) -> None:
    machine = Machine(architecture="x86_64", cores=2, memory_bytes=8 << 30, free_memory_bytes=4 << 30,
                      cpu_bf16=False, accelerators=(GPU,))  # fmt: skip
    plan = plan_training(configure(precision="bfloat16"), machine=machine)
    assert (plan.memory.device, plan.precision, plan.free_bytes) == ("cuda:0", "bfloat16", 20 << 30)
    small = plan_training(configure(), machine=machine)  # as small a model gains nothing by itself
    assert (small.memory.device, small.precision) == ("cuda:0", "float32")
    assert plan.estimate_bytes < small.estimate_bytes


@pytest.mark.parametrize(
    ("changes", "key", "says", "exit_code"),
    [
        ({"data": "nowhere"}, "data", "there is no folder 'nowhere'", 2),
        ({"model": "mimi"}, "model", "no model is named 'mimi'", 2),
        ({"kv_compression": "conv:2:0-5"}, "kv_compression", "there is no layer 5: the last is 1", 2),
        ({"vae": "nowhere/vae"}, "vae", "nowhere", 2),
        ({"device": "cuda:7"}, "device", "no device 'cuda:7'", 2),
    ],
)
def test_what_cannot_be_names_its_line(configure, changes, key, says, exit_code) -> None:
    config = configure(**changes)
    error = refused(lambda: plan_training(config, machine=CPU))
    assert error.exit_code == exit_code
    assert says in error.message
    assert error.message.startswith(config.origins[key] + ": ")


def test_an_empty_folder_is_told_what_belongs_there(configure, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    error = refused(lambda: plan_training(configure(data=str(tmp_path / "empty")), machine=CPU))
    assert (error.exit_code, "train.toml:2" in error.message) == (2, True)
    assert "caption" in error.hint


def test_captions_without_pictures_are_told(configure, tmp_path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a red sun")
    error = refused(lambda: plan_training(configure(data=str(tmp_path / "texts")), machine=CPU))
    assert "a.txt: a caption without a picture" in error.message


def test_a_class_without_pictures_can_be_drawn(configure, tmp_path) -> None:
    (tmp_path / "class").mkdir()
    config = configure(class_data=str(tmp_path / "class"), class_prompt="a dog")
    assert 'pixart gen "a dog"' in refused(lambda: plan_training(config, machine=CPU)).hint
    (tmp_path / "class" / "0.png").write_bytes(png(30, 30))
    plan = plan_training(config, machine=CPU)
    assert [each.picture.caption for each in plan.lessons if each.of_class] == ["a dog"]
    assert sum(not each.of_class for each in plan.lessons) == 6


def test_a_variance_that_is_not_there_cannot_learn(configure) -> None:
    error = refused(lambda: plan_training(configure(model="mini", learn_sigma="on"), machine=CPU))
    assert "predicts no variance" in error.message
    assert plan_training(configure(model="mini"), machine=CPU).prediction_type == "v_prediction"


def test_few_step_models_are_not_trained(configure, tmp_path) -> None:
    folder = build_toy_alpha(tmp_path / "lcm", "lcm")
    error = refused(lambda: plan_training(configure(model=str(folder)), machine=CPU))
    assert "few steps" in error.message
    assert error.exit_code == 2


def test_compressed_weights_are_not_compressed_again(configure, tmp_path) -> None:
    folder = build_toy_model(tmp_path / "kv", kv_compression={"sampling": "conv", "ratio": 2})
    config = configure(model=str(folder), kv_compression="conv:2:deep")
    assert "compressed keys and values already" in refused(lambda: plan_training(config, machine=CPU)).message


@pytest.mark.parametrize("change", [{"beta_end": 0.012}, {"prediction_type": "sample"}])
def test_another_noise_schedule_is_another_architecture(configure, tmp_path, toy_folder, change) -> None:
    folder = tmp_path / "other"
    shutil.copytree(toy_folder, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    error = refused(lambda: plan_training(configure(model=str(folder)), machine=CPU))
    assert (error.code, error.exit_code) == ("weights-invalid", 4)
    assert "train.toml:1" in error.message


def test_a_folder_of_another_architecture_is_refused(configure, tmp_path) -> None:
    (tmp_path / "sd" / "unet").mkdir(parents=True)
    (tmp_path / "sd" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    error = refused(lambda: plan_training(configure(model=str(tmp_path / "sd")), machine=CPU))
    assert error.exit_code in (3, 4)
    assert "train.toml:1" in error.message


def test_a_vae_alone_or_in_a_model_can_be_swapped_in(configure, tmp_path, toy_folder) -> None:
    assert plan_training(configure(vae=str(toy_folder)), machine=CPU).vae == toy_folder / "vae"
    alone = toy_folder / "vae"
    assert plan_training(configure(vae=str(alone)), machine=CPU).vae == alone
    toy_vae(channels=(8, 8, 16)).save_pretrained(tmp_path / "small")
    error = refused(lambda: plan_training(configure(vae=str(tmp_path / "small")), machine=CPU))
    assert (error.exit_code, "4x smaller" in error.message) == (4, True)


@pytest.mark.parametrize(
    ("key", "value", "library"),
    [
        ("method", "lora", "peft"),
        ("optimizer", "came", "pytorch_optimizer"),
        ("tensorboard", True, "tensorboard"),
    ],
)
def test_a_missing_library_is_told_before_any_work(configure, monkeypatch, key, value, library) -> None:
    from pixart_cli.features.finetune import plan as module

    monkeypatch.setattr(module, "find_spec", lambda name: None if name == library else object())
    config = configure(**{key: value})
    error = refused(lambda: plan_training(config, machine=CPU))
    assert error.message.startswith(config.origins[key])
    assert "pixart-cli[train]" in error.hint


def test_compression_must_leave_keys_of_every_shape(configure) -> None:
    config = configure(kv_compression="conv:16:deep")
    error = refused(lambda: plan_training(config, machine=CPU))
    assert "leaves nothing of" in error.message
    assert error.message.startswith(config.origins["kv_compression"])
    assert plan_training(configure(kv_compression="conv:16:deep", aspect_bins=False), machine=CPU)


def test_processes_do_not_share_one_gpu(configure, monkeypatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    two = Machine(architecture="x86_64", cores=2, memory_bytes=8 << 30, free_memory_bytes=4 << 30,
                  cpu_bf16=False, accelerators=(GPU, dataclasses.replace(GPU, index=1)))  # fmt: skip
    assert plan_training(configure(), machine=two).memory.device == "cuda:1"
    assert plan_training(configure(), machine=two).team.whole == 4
    error = refused(lambda: plan_training(configure(device="cuda:0"), machine=two))
    assert "2 processes cannot all use cuda:0" in error.message


def test_another_family_is_another_architecture(configure, toy_peers) -> None:
    config = configure(model=str(toy_peers["sdxl"]))
    error = refused(lambda: plan_training(config, machine=CPU))
    assert (error.exit_code, "is no PixArt" in error.message) == (4, True)
    assert error.message.startswith(config.origins["model"])
