"""LoRA: what peft gives the network, and the file that `gen --lora` merges."""

import json
import sys

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import read_header
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.lora_merge import fit, merged
from pixart_cli.diffusion.training.adapters import add_lora, lora_of, write_lora

TARGETS = ("to_q", "to_out.0", "ff.net.0.proj", "proj")


def shown(network) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return network(
            torch.randn(1, 4, 8, 8, generator=generator),
            encoder_hidden_states=torch.randn(1, 2, 16, generator=generator),
            timestep=torch.tensor([500]), added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]  # fmt: skip


def test_it_starts_as_nothing_and_alone_learns(network, weak) -> None:
    add_lora(network, rank=2, alpha=4, targets=TARGETS, seed=0)
    assert torch.equal(shown(network), shown(weak))
    learning = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)


def test_the_seed_decides_its_start(weak) -> None:
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    def first(seed: int) -> torch.Tensor:
        network = adapted(weak, Adaptation())
        add_lora(network, rank=2, alpha=4, targets=TARGETS, seed=seed)
        return next(value for name, value in network.named_parameters() if "lora_A" in name)

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_merged_by_gen_it_is_the_network_that_was_trained(network, weak, tmp_path) -> None:
    config = add_lora(network, rank=2, alpha=6, targets=TARGETS, seed=0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    write_lora(tmp_path, lora_of(network), config, {"model": "toy"})
    weak.save_pretrained(tmp_path / "transformer")
    lora = find_lora(str(tmp_path))
    change = fit(lora, read_header(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"))
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    plain = adapted(weak, Adaptation())
    plain.load_state_dict({key: merged(key, value, [change]) for key, value in weak.state_dict().items()})
    assert not torch.allclose(shown(network), shown(weak), atol=1e-3)
    assert torch.allclose(shown(network), shown(plain), atol=1e-5)


def test_the_configuration_is_peft_s_own(network, tmp_path) -> None:
    from peft import LoraConfig

    config = add_lora(network, rank=2, alpha=6, targets=TARGETS, seed=0)
    write_lora(tmp_path, lora_of(network), config, {"model": "m"})
    read = LoraConfig.from_pretrained(str(tmp_path))
    assert (read.r, read.lora_alpha, set(read.target_modules)) == (2, 6, set(TARGETS))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "m"


def test_peft_itself_loads_it(network, weak, tmp_path) -> None:
    from peft import PeftModel

    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    config = add_lora(network, rank=2, alpha=6, targets=TARGETS, seed=0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    write_lora(tmp_path, lora_of(network), config, {"model": "m"})
    other = PeftModel.from_pretrained(adapted(weak, Adaptation()), str(tmp_path))
    assert torch.allclose(shown(other.base_model.model), shown(network), atol=1e-6)


def test_names_that_fit_no_layer_are_refused(network) -> None:
    with pytest.raises(ValueError, match="to_z"):
        add_lora(network, rank=2, alpha=4, targets=("to_z",), seed=0)


def test_without_peft_the_way_to_it_is_told(network, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(PixartError, match="peft") as caught:
        add_lora(network, rank=2, alpha=4, targets=TARGETS, seed=0)
    assert "pixart-cli[train]" in caught.value.hint
