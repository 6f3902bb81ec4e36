"""The parts of every family, and that none is ever a pickle."""

import pytest

from pixart_cli.core.components import (
    COMPONENTS,
    PEERS,
    components_of,
    is_network,
    is_scheduler,
    is_tokenizer,
    needed_files,
    networks_of,
)


def test_pixart_has_five_parts_of_which_three_have_weights() -> None:
    for family in ("mini", "sigma", "alpha"):
        assert components_of(family) == COMPONENTS
        assert networks_of(family) == ("text_encoder", "vae", "transformer")


def test_the_others() -> None:
    assert PEERS == ("sdxl", "cascade")
    assert networks_of("sdxl") == ("text_encoder", "text_encoder_2", "unet", "vae")
    assert networks_of("cascade") == ("text_encoder", "prior", "decoder", "vqgan")


@pytest.mark.parametrize("family", ["sigma", *PEERS])
def test_every_part_is_one_thing_and_needs_no_pickle(family: str) -> None:
    for name in components_of(family):
        assert [is_network(name), is_scheduler(name), is_tokenizer(name)].count(True) == 1
        patterns = needed_files(family, name)
        assert all(pattern.endswith((".json", ".safetensors", ".model", ".txt")) for pattern in patterns)
        assert is_network(name) == ("*.safetensors" in patterns)
