"""Results: folders that draw, and their record."""

import json

import torch
from safetensors import safe_open

from pixart_cli.diffusion.training.adapt import Adaptation, adapted
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.result import record_of, write_model
from tests.features.finetune.conftest import refused


def network_of(plan, **change: object):
    from pixart_cli.diffusion.pipeline import load_network

    source = load_network(
        "transformer", plan.installed.parts["transformer"], spec=plan.spec, dtype=torch.float32
    )
    return adapted(source, Adaptation(**change))


def test_a_model_is_diffusers_own_and_says_how_it_was_made(configure, tmp_path) -> None:
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    plan = plan_training(configure())
    network, record = network_of(plan), record_of(plan, "sha256:x", 2)
    write_model(tmp_path / "model", plan, network, record)
    read = PixArtTransformer2DModel.from_pretrained(tmp_path / "model" / "transformer")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in read.state_dict().items())
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["transformer"] == ["diffusers", "PixArtTransformer2DModel"]
    assert json.loads((tmp_path / "model" / "training.json").read_text()) == record
    weights = tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors"
    with safe_open(weights, framework="pt") as file:
        assert json.loads(file.metadata()["pixart"]) == record
    assert str(tmp_path) not in json.dumps(record)
    assert (record["steps"], record["pictures"], record["config"]["learning_rate"]) == (2, 6, 1e-3)


def test_a_larger_size_and_compression_are_found_again(configure, tmp_path) -> None:
    plan = plan_training(configure(image_size=512, kv_compression="conv:2:deep"))
    network = network_of(plan, image_size=512, kv_compression={"sampling": "conv", "ratio": 2})
    write_model(tmp_path / "model", plan, network, {})
    found = locate(str(tmp_path / "model"))
    assert (found.spec.native, found.spec.kv_ratio) == (512, 2)


def test_the_built_in_model_s_heirs_draw_as_it_does(configure, tmp_path) -> None:
    plan = plan_training(configure(model="mini"))
    write_model(tmp_path / "model", plan, network_of(plan), {})
    found, source = locate(str(tmp_path / "model")).spec, plan.spec
    assert (found.default_steps, found.default_guidance) == (source.default_steps, source.default_guidance)
    config = json.loads((tmp_path / "model" / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "PixArtTransformer2DModel"


def test_weights_too_large_for_their_precision_are_refused(configure, tmp_path) -> None:
    plan = plan_training(configure(export_dtype="float16"))
    network = network_of(plan)
    with torch.no_grad():
        network.proj_out.bias[0] = 1e6
    error = refused(lambda: write_model(tmp_path / "model", plan, network, {}))
    assert "proj_out.bias" in error.message
    assert not (tmp_path / "model").exists()
