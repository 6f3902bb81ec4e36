"""What a continued run must have in common with its beginning."""

import pytest

from pixart_cli.features.finetune.facts import facts_of, refuse_changed
from pixart_cli.features.finetune.plan import plan_training
from tests.features.finetune.conftest import refused


def facts(config, vae: str = "a") -> dict[str, object]:
    plan = plan_training(config)
    return facts_of(plan, plan.lessons, vae)


def test_what_does_not_decide_the_weights_may_change(configure, tmp_path) -> None:
    before = facts(configure())
    free = {
        "steps": 9, "save_every": 1, "keep": 1, "batch_size": 1, "accumulate": 2, "plots": True,
        "gradient_checkpointing": True, "sample_every": 1, "sample_prompts": ["x"], "out": str(tmp_path),
    }  # fmt: skip
    assert facts(configure(**free)) == before


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"learning_rate": 1e-5}, "learning_rate"), ({"seed": 1}, "seed"), ({"ema": 0.5}, "ema"),
        ({"optimizer": "came"}, "optimizer"), ({"batch_size": 1}, "batch_size"),
        ({"kv_compression": "conv:2:deep"}, "kv_compression"), ({"aspect_bins": False}, "aspect_bins"),
    ],
)  # fmt: skip
def test_what_does_is_named(configure, changes, key) -> None:
    before, config = facts(configure()), configure(**changes)
    error = refused(lambda: refuse_changed(plan_training(config), before, facts(config)))
    assert f"{key} is not what it was" in error.message
    assert "train.toml:" in error.message


def test_other_weights_are_the_models_line(configure) -> None:
    config = configure()
    before = facts(config) | {"weights": "sha256:b"}
    error = refused(lambda: refuse_changed(plan_training(config), before, facts(config)))
    assert "train.toml:1: model is not what it was" in error.message


def test_other_latents_are_the_vae_s_line(configure) -> None:
    config = configure()
    error = refused(lambda: refuse_changed(plan_training(config), facts(config), facts(config, "b")))
    assert "vae is not what it was" in error.message


def test_a_warm_up_that_was_said_decides(configure) -> None:
    assert facts(configure(warmup_steps=1)) != facts(configure())


def test_a_falling_rate_depends_on_the_number_of_steps(configure) -> None:
    one, other = (facts(configure(schedule="cosine", steps=steps)) for steps in (2, 3))
    assert one != other
