"""bfloat16 only where the hardware multiplies it."""

import pytest
import torch

from pixart_cli.features.train import precision


@pytest.mark.parametrize("hardware", [True, False])
def test_processors_follow_their_hardware(monkeypatch: pytest.MonkeyPatch, hardware: bool) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: hardware)
    side = torch.ones(8, 8)
    with precision.mixed_precision(torch.device("cpu")):
        product = side @ side
    assert product.dtype == (torch.bfloat16 if hardware else torch.float32)
