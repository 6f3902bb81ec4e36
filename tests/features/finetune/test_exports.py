"""Results after the steps that were named, beside the one at the end."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pixart_cli.diffusion.weights import locate
from pixart_cli.features.finetune.folder import start_over
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.run import train
from tests.features.finetune.conftest import refused
from tests.features.finetune.test_run import quietly, stop_after, weights


def steps_of(folder: Path) -> int:
    return json.loads((folder / "training.json").read_text())["steps"]


def test_the_model_is_exported_before_the_first_step_and_after_those_named(
    configure, tmp_path, toy_folder
) -> None:
    done = quietly(configure(steps=3, ema=0.5, export_at=[2, 0, 3]))
    made = [done.path.with_name(f"model-{step:08d}") for step in (0, 2, 3)]
    assert [steps_of(path) for path in made] == [0, 2, 3]
    start, middle, end = (weights(path) for path in made)
    source = load_file(toy_folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(start[name], value) for name, value in source.items())
    last = weights(done.path)
    assert all(torch.equal(end[name], value) for name, value in last.items())
    assert any(not torch.equal(middle[name], value) for name, value in last.items())
    assert locate(str(made[1])).spec.native == 256


def test_a_run_that_was_stopped_exports_what_an_unbroken_one_does(configure, tmp_path) -> None:
    values = {"steps": 3, "ema": 0.5, "export_at": [2]}
    one = quietly(configure(out=str(tmp_path / "a"), **values)).path
    with pytest.raises(KeyboardInterrupt):
        quietly(configure(out=str(tmp_path / "b"), **values), hold=stop_after(1))
    other = quietly(configure(out=str(tmp_path / "b"), **values)).path
    found = [weights(path.with_name("model-00000002")) for path in (one, other)]
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_a_run_may_grow_and_export_further_steps(configure, tmp_path) -> None:
    quietly(configure(steps=1, export_at=[0, 1]))
    first = tmp_path / "run" / "model-00000001"
    (first / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    done = quietly(configure(steps=2, export_at=[0, 1, 2]))
    assert done.resumed == 1
    assert weights(first)  # as the checkpoint there has it
    assert steps_of(tmp_path / "run" / "model-00000002") == 2


def test_a_lora_has_the_precision_that_was_asked_for(configure) -> None:
    done = quietly(configure(method="lora", lora_rank=2, steps=1, export_dtype="float16"))
    tensors = load_file(done.path / "adapter_model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}


def test_a_lora_is_exported_so_too_and_goes_with_its_run(configure, tmp_path) -> None:
    config = configure(method="lora", lora_rank=2, steps=1, export_at=[0])
    done = quietly(config)
    early = done.path.with_name("lora-00000000")
    assert (early / "adapter_model.safetensors").is_file()
    start_over(plan_training(config))
    assert not early.exists()
    assert not done.path.exists()


def test_what_else_stands_in_an_export_s_place_stays(configure, tmp_path) -> None:
    theirs = tmp_path / "run" / "model-00000001" / "mine.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("")
    config = configure(export_at=[1])
    assert refused(lambda: train(plan_training(config), on_event=print)).code == "output-invalid"
    start_over(plan_training(config))
    assert theirs.exists()


def test_the_model_that_is_trained_is_not_exported_over(configure, tmp_path) -> None:
    config = configure(model=str(tmp_path / "run" / "model-00000001"), export_at=[1])
    assert "out holds the model" in refused(lambda: plan_training(config)).message
