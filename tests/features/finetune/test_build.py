"""What a plan builds."""

import pytest
import torch

from pixart_cli.features.finetune.build import build_network
from pixart_cli.features.finetune.plan import plan_training
from tests.features.finetune.conftest import refused


def test_every_weight_learns_in_float32(configure) -> None:
    network, lora = build_network(plan_training(configure(precision="bfloat16")))
    assert lora is None
    assert {(each.requires_grad, each.dtype) for each in network.parameters()} == {(True, torch.float32)}
    assert not network.gradient_checkpointing


def test_a_lora_learns_in_float32_over_frozen_half_precision(configure) -> None:
    config = configure(method="lora", lora_rank=2, precision="bfloat16", gradient_checkpointing=True)
    network, lora = build_network(plan_training(config))
    assert lora is not None
    assert network.gradient_checkpointing
    found = {(each.requires_grad, each.dtype) for each in network.parameters()}
    assert found == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.parametrize("start", ["average", "random"])
def test_compression_starts_as_configured(configure, start: str) -> None:
    network, _ = build_network(plan_training(configure(kv_compression="conv:2:0", kv_start=start)))
    weight = network.transformer_blocks[0].attn1.sr.weight
    assert bool((weight == 0.25).all()) == (start == "average")


def test_a_size_with_and_without_interpolation(configure) -> None:
    scales = [
        build_network(plan_training(configure(image_size=512, interpolate_positions=yes)))[0].config
        for yes in (True, False)
    ]
    assert [each.interpolation_scale for each in scales] == [1.0, 0.5]
    assert [each.sample_size for each in scales] == [64, 64]


def test_targets_that_are_no_layers_name_the_line(configure) -> None:
    config = configure(method="lora", lora_targets=["to_z"])
    error = refused(lambda: build_network(plan_training(config)))
    assert config.origins["lora_targets"] in error.message
