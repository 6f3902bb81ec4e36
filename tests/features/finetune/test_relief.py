"""The setting to lower where memory does not suffice."""

import pytest
import torch

from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.relief import memory_named, relief
from tests.features.finetune.conftest import refused


def test_memory_that_runs_out_names_the_setting_and_its_line(configure) -> None:
    def work() -> None:
        with memory_named(plan_training(configure(gradient_checkpointing=False))):
            raise torch.OutOfMemoryError("CUDA out of memory")

    error = refused(work)
    assert (error.code, error.exit_code) == ("out-of-memory", 5)
    assert "gradient_checkpointing = true" in error.hint
    assert "train.toml:10" in error.hint


def test_reading_has_a_way_out_of_its_own(configure) -> None:
    def work() -> None:
        with memory_named(plan_training(configure())), memory_named(plan_training(configure()), "Wait."):
            raise MemoryError

    assert refused(work).hint == "Wait."


def test_other_errors_stay_what_they_are(configure) -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_named(plan_training(configure())):
        raise RuntimeError("shapes differ")


def test_settings_are_lowered_in_the_order_of_what_they_cost(configure) -> None:
    def hint(**changes: object) -> str:
        return relief(plan_training(configure(gradient_checkpointing=True, **changes)))

    assert "batch_size from 2 to 1" in hint()
    assert "train.toml:5" in hint()
    assert 'precision = "bfloat16"' in hint(batch_size=1)
    assert 'optimizer = "came"' in hint(batch_size=1, precision="bfloat16")
    assert "ema = 0" in hint(batch_size=1, precision="bfloat16", optimizer="came", ema=0.9)
    assert "batch_size from 3 to 1" in hint(batch_size=3)
    assert "accumulate = 3" in hint(batch_size=3)
    assert 'method = "lora"' in hint(batch_size=1, precision="bfloat16", optimizer="came")


def test_a_lora_is_not_told_to_become_one(configure) -> None:
    config = configure(method="lora", gradient_checkpointing=True, batch_size=1, precision="bfloat16")
    assert "lora_rank" in relief(plan_training(config))
