"""Whole runs on the toy: the result draws, a stopped run equals an unbroken one, processes equal one."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pixart_cli.features.finetune.metrics import read_metrics
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.run import train
from tests.features.finetune.conftest import png, refused
from tests.processes import PATIENCE, free_port
from tests.toy_model import toy_vae


def quietly(config, **options: object):
    return train(plan_training(config), on_event=lambda event: None, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")


def stop_after(count: int) -> Callable[[], contextlib.AbstractContextManager[Callable[[], bool]]]:
    """A hold that says stop when it is asked for the `count`-th time."""

    @contextlib.contextmanager
    def hold() -> Iterator[Callable[[], bool]]:
        asked = 0

        def stopping() -> bool:
            nonlocal asked
            asked += 1
            return asked >= count

        yield stopping
        raise KeyboardInterrupt

    return hold


def test_a_run_makes_a_model_that_draws(configure, tmp_path) -> None:
    from pixart_cli.diffusion import device
    from pixart_cli.features import generate

    events = []
    config = configure(
        ema=0.5, sample_every=2, sample_prompts=["a red sun"], plots=True, min_snr=5.0, accumulate=2,
        caption_dropout=0.5, tensorboard=True, cache=None,
    )  # fmt: skip
    done = train(plan_training(config), on_event=events.append)
    assert (done.path, done.steps, done.resumed, done.pictures) == (tmp_path / "run" / "model", 2, 0, 6)
    assert [each["step"] for each in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    assert {each.stage for each in events} == {"pictures", "captions", "train", "draw"}
    samples = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert samples == ["step-00000000-0.png", "step-00000002-0.png"]
    assert [path.name for path in done.plots] == ["loss.png", "learning-rate.png", "samples.png"]
    assert list((tmp_path / "run" / "tensorboard").rglob("events*"))
    spec = generate.spec_of(str(done.path))
    plan = device.plan(device.probe(), spec, 256, 256, device="cpu")
    from pixart_cli.core.request import GenerationRequest

    request = GenerationRequest(
        prompt="a red sun", model=str(done.path), width=256, height=256, num_inference_steps=2,
        guidance_scale=4.5, scheduler="dpm++", seed=1,
    )  # fmt: skip
    (drawn,) = generate.network(str(done.path), plan).render([request], on_progress=lambda event: None)
    assert drawn.pixels.size == (256, 256)


def test_a_stopped_run_goes_on_to_the_bit(configure, tmp_path) -> None:
    values = {"steps": 4, "ema": 0.9, "schedule": "cosine", "caption_dropout": 0.3}
    unbroken = quietly(configure(out=str(tmp_path / "a"), **values))
    config = configure(out=str(tmp_path / "b"), **values)
    with pytest.raises(KeyboardInterrupt):
        quietly(config, hold=stop_after(2))
    assert not (tmp_path / "b" / "model").exists()
    done = quietly(config)
    assert (done.resumed, done.steps) == (2, 4)
    one, other = weights(unbroken.path), weights(done.path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[row["loss"] for row in read_metrics(tmp_path / each / "metrics.jsonl")] for each in "ab"]
    assert losses[0] == losses[1]
    assert quietly(config).resumed == 4


def test_a_run_goes_on_only_as_it_began(configure, tmp_path) -> None:
    quietly(configure())
    error = refused(lambda: quietly(configure(learning_rate=1e-4)))
    assert "train.toml:6: learning_rate is not what it was" in error.message
    assert "it was 0.001" in error.message
    assert "--force" in error.hint
    longer = quietly(configure(steps=3, save_every=1, batch_size=1, accumulate=2))
    assert (longer.resumed, longer.steps) == (2, 3)
    assert "a step had 2 pictures, now 4" in refused(lambda: quietly(configure(batch_size=4))).message
    assert quietly(configure(learning_rate=1e-4), anew=True).resumed == 0


def test_a_folder_that_cannot_be_made_is_told_before_any_work(configure, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    error = refused(lambda: quietly(configure(out=str(tmp_path / "file" / "run"))))
    assert error.exit_code == 9


def test_a_lora_is_trained_and_merged(configure, tmp_path, toy_folder) -> None:
    from pixart_cli.diffusion.header import read_header
    from pixart_cli.diffusion.lora_file import find_lora
    from pixart_cli.diffusion.lora_merge import fit

    config = configure(method="lora", lora_rank=2, learning_rate=1e-2, precision="bfloat16")
    done = quietly(config)
    assert done.path == tmp_path / "run" / "lora"
    lora = find_lora(str(done.path))
    model = read_header(toy_folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert fit(lora, model).layers
    ups = [value for key, value in load_file(lora.path).items() if "lora_B" in key]
    assert max(float(value.abs().max()) for value in ups) > 0
    config = configure(method="lora", lora_targets=["nothing"], out=str(tmp_path / "x"))
    error = refused(lambda: quietly(config))
    assert "lora_targets" in error.message


def test_weak_to_strong_in_one_step_each(configure, tmp_path) -> None:
    from pixart_cli.diffusion.weights import locate

    done = quietly(
        configure(steps=1, kv_compression="conv:2:deep", kv_start="random", gradient_checkpointing=True)
    )
    assert locate(str(done.path)).spec.kv_ratio == 2
    done = quietly(
        configure(steps=1, image_size=512, batch_size=1, out=str(tmp_path / "large"), optimizer="came")
    )
    assert locate(str(done.path)).spec.native == 512


def test_a_swapped_vae_is_the_result_s(configure, tmp_path, toy_folder) -> None:
    torch.manual_seed(5)
    toy_vae(scaling_factor=0.13).save_pretrained(tmp_path / "vae")
    done = quietly(configure(steps=1, vae=str(tmp_path / "vae")))
    name = "diffusion_pytorch_model.safetensors"
    assert (done.path / "vae" / name).read_bytes() == (tmp_path / "vae" / name).read_bytes()
    assert (done.path / "vae" / name).read_bytes() != (toy_folder / "vae" / name).read_bytes()
    assert json.loads((done.path / "vae" / "config.json").read_text())["scaling_factor"] == 0.13


def test_a_subject_is_learned_against_its_class(configure, tmp_path) -> None:
    folder = tmp_path / "dogs"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(60, 20, (1, 2, 3)))
    config = configure(class_data=str(folder), class_prompt="a moon", prior_weight=0.5)
    assert quietly(config).pictures == 7


def test_data_that_cannot_be_decoded_at_all_stops_the_run(configure, tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    whole = png(400, 400)
    (folder / "cut.png").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "cut.txt").write_text("a red sun")
    error = refused(lambda: quietly(configure(data=str(folder))))
    assert (error.exit_code, "cut.png" in error.message) == (2, True)
    assert error.message.startswith(str(tmp_path / "train.toml:2"))


def test_a_run_does_not_go_on_under_another_vae(configure, tmp_path) -> None:
    """The revision of a model from a hub says its commits, which another VAE does not change."""

    def plan(config):
        plan = plan_training(config)
        return replace(plan, installed=replace(plan.installed, commits=("0123abcd",)))

    torch.manual_seed(6)
    toy_vae(scaling_factor=0.13).save_pretrained(tmp_path / "vae")
    train(plan(configure(steps=1)), on_event=lambda event: None)
    changed = plan(configure(vae=str(tmp_path / "vae")))
    error = refused(lambda: train(changed, on_event=lambda event: None))
    assert "train.toml:10: vae is not what it was" in error.message


def test_a_recipe_s_warm_up_may_grow_with_the_steps(configure) -> None:
    values = {"recipe": "kv-compress", "steps": 10, "save_every": 10, "ema": 0.0}
    assert quietly(configure(**values)).steps == 10
    longer = quietly(configure(**values | {"steps": 20}))
    assert (longer.resumed, longer.steps) == (10, 20)


def test_what_was_learned_is_saved_where_a_sample_cannot_be_drawn(configure, monkeypatch) -> None:
    from pixart_cli.features.finetune.previews import Previews

    drawn = Previews.draw

    def draw(self, trainer) -> None:
        if trainer.step:
            raise torch.OutOfMemoryError("CUDA out of memory")
        drawn(self, trainer)

    monkeypatch.setattr(Previews, "draw", draw)
    values = {"steps": 5, "sample_every": 2, "sample_prompts": ["a red sun"]}
    error = refused(lambda: quietly(configure(**values)))
    assert (error.code, "sample_every = 0" in error.hint, "train.toml:10" in error.hint) == (
        "out-of-memory", True, True,
    )  # fmt: skip
    monkeypatch.undo()
    assert quietly(configure(**values | {"sample_every": 0})).resumed == 2


def test_two_processes_equal_one(configure, tmp_path) -> None:
    """Real gloo processes, each with half of every batch, against one with the whole."""
    alone = quietly(configure(out=str(tmp_path / "one"), batch_size=4, steps=3))
    configure(out=str(tmp_path / "two"), batch_size=2, steps=3)
    environ = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "pixart_cli", "train", str(tmp_path / "train.toml"), "--json"]
    running = [
        subprocess.Popen(
            command, env=environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=PATIENCE) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said
    assert json.loads(said[0][0])["steps"] == 3
    assert said[1][0] == ""
    assert "training" not in said[1][1]
    one, two = weights(alone.path), weights(tmp_path / "two" / "model")
    before = load_file(Path(configure().model) / "transformer" / "diffusion_pytorch_model.safetensors")
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < 0.02 * moved
    losses = [
        [row["loss"] for row in read_metrics(tmp_path / each / "metrics.jsonl")] for each in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
