"""Quicker steps on a processor give what the plain ones give."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pixart_cli.features.train import denoiser
from pixart_cli.features.train.processor_speed import ProductAttention, hasten

KEPT = """
import sys, torch
from pixart_cli.features.train.processor_speed import keep_memory
if sys.argv[1] == "keep": keep_memory()
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = held()
tensors = [torch.ones(4 * 2**20) for _ in range(8)]
full = held() - before
del tensors
print(full, held() - before)
"""


class Softmaxes(TorchDispatchMode):
    """What the softmaxes of a computation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._softmax.default:
            self.kinds.append(out.dtype)
        return out


def _attention(processor: object) -> Attention:
    torch.manual_seed(0)
    return Attention(32, cross_attention_dim=32, heads=4, dim_head=8, bias=True, processor=processor)


def _inputs(*, cross: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(2, 12, 32, generator=generator).requires_grad_()
    if not cross:
        return tokens, None, None
    told = torch.randn(2, 5, 32, generator=generator)
    mask = torch.tensor([[0.0] * 5, [0.0] * 3 + [-10_000.0] * 2])[:, None]
    return tokens, told, mask


@pytest.mark.parametrize("cross", [False, True])
def test_attention_is_that_of_diffusers(cross: bool) -> None:
    results = []
    for processor in (AttnProcessor(), ProductAttention()):
        tokens, told, mask = _inputs(cross=cross)
        out = _attention(processor)(tokens, encoder_hidden_states=told, attention_mask=mask)
        out.square().sum().backward()
        assert tokens.grad is not None
        results.append((out.detach(), tokens.grad))
    for theirs, ours in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert theirs.abs().max() > 0.1


@pytest.mark.parametrize("cross", [False, True])
def test_in_mixed_precision_only_the_rounding_differs(cross: bool) -> None:
    tokens, told, mask = _inputs(cross=cross)
    exact = _attention(AttnProcessor())(tokens, encoder_hidden_states=told, attention_mask=mask)
    with torch.autocast("cpu", torch.bfloat16), Softmaxes() as softmaxes:
        ours = _attention(ProductAttention())(tokens, encoder_hidden_states=told, attention_mask=mask)
    assert (ours - exact).abs().max() < 0.02
    assert softmaxes.kinds == [torch.bfloat16]


def test_a_hastened_network_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "HEADS", 2)
    monkeypatch.setattr(denoiser, "LAYERS", 2)
    torch.manual_seed(0)
    model = denoiser.build_transformer(16, torch.device("meta")).to_empty(device="cpu").eval()
    denoiser.start_denoiser(model)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.pos_embed.pos_embed.normal_()
    latents, states = torch.randn(2, 8, 8, 8), torch.randn(2, 5, 16)
    mask, timesteps = torch.ones(2, 5), torch.tensor([30, 900])
    with torch.no_grad():
        plain = denoiser.predict(model, latents, states, mask, timesteps)
        config = dict(model.config)
        hasten(model)
        assert dict(model.config) == config
        hastened = denoiser.predict(model, latents, states, mask, timesteps)
    assert 0 < (hastened - plain).abs().max() < 0.01 * plain.std()


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_is_kept() -> None:
    def held(how: str) -> float:
        out = subprocess.run(
            [sys.executable, "-c", KEPT, how], capture_output=True, text=True, check=True
        ).stdout
        full, left = map(int, out.split())
        return left / full

    assert held("keep") > 0.8
    assert held("hand back") < 0.3
