"""Rules of thumb, against what the real class does."""

import pytest
import torch

from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.diffusion.training.samples import Batch
from pixart_cli.diffusion.training.trainer import loss_of
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from pixart_cli.features.finetune import cost
from pixart_cli.features.finetune.plan import plan_training
from tests.features.finetune.test_plan import CPU

SHAPE = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 3}


def kept_bytes(*, checkpointing: bool) -> int:
    """What autograd keeps of one forward over two pictures of 256 pixels, every storage once."""
    network = PixArtSigmaTransformer2DModel(
        **SHAPE, cross_attention_dim=64, sample_size=32, out_channels=4, caption_channels=16,
        interpolation_scale=0.5, use_additional_conditions=False,
    ).train()  # fmt: skip
    if checkpointing:
        network.enable_gradient_checkpointing()
    shape = (2, 4, 32, 32)
    batch = Batch(
        latents=torch.randn(shape), noise=torch.randn(shape), timesteps=torch.tensor([3, 500]),
        embeds=torch.randn(2, 4, 16), mask=torch.ones(2, 4).long(), weights=torch.ones(2),
    )  # fmt: skip
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_leaf:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(network, network, Objective(prediction_type="epsilon"), batch)
    assert loss.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_autograd_keeps(configure, checkpointing: bool) -> None:
    shape = cost.shape_of(SHAPE, 0)
    told = cost.peak_bytes(configure(gradient_checkpointing=checkpointing), shape, 0, 256, 4)
    if checkpointing:  # the block that is computed again is not kept yet when the forward ends
        told -= cost.peak_bytes(configure(), shape, 0, 256, 4) // SHAPE["num_layers"]
    assert told == pytest.approx(kept_bytes(checkpointing=checkpointing), rel=0.35)


def test_a_lora_s_weights_are_about_those_that_peft_adds(configure) -> None:
    from pixart_cli.features.finetune.build import build_network

    config = configure(model="mini", method="lora", lora_rank=4)
    plan = plan_training(config, machine=CPU)
    network, _ = build_network(plan)
    assert plan.trained == pytest.approx(
        sum(each.numel() for each in network.parameters() if each.requires_grad), rel=0.3
    )


def test_memory_falls_with_what_saves_memory(configure) -> None:
    def needs(**changes: object) -> int:
        return plan_training(configure(batch_size=4, **changes), machine=CPU).estimate_bytes

    whole = needs(ema=0.9)
    assert whole > needs() > needs(gradient_checkpointing=True) > 0
    assert needs() > needs(optimizer="came") > needs(method="lora", lora_rank=2)


def test_time_grows_with_the_work(configure) -> None:
    def seconds(**changes: object) -> float:
        found = plan_training(configure(**changes), machine=CPU).seconds_estimate
        assert found is not None
        return found

    assert seconds(steps=4) == pytest.approx(2 * seconds(steps=2))
    assert seconds(gradient_checkpointing=True) == pytest.approx(4 / 3 * seconds())
