"""The libraries are quiet within, and as they were after."""

import pytest
from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers

from pixart_cli.diffusion.quiet import silence


def test_advice_is_kept_back_and_only_within() -> None:
    before = of_diffusers.get_verbosity(), of_transformers.get_verbosity()
    with silence():
        assert of_diffusers.get_verbosity() == of_diffusers.ERROR
        assert of_transformers.get_verbosity() == of_transformers.ERROR
    assert (of_diffusers.get_verbosity(), of_transformers.get_verbosity()) == before


def test_a_failure_ends_it_as_well() -> None:
    def fail() -> None:
        with silence():
            raise KeyError

    before = of_diffusers.get_verbosity(), of_transformers.get_verbosity()
    with pytest.raises(KeyError):
        fail()
    assert (of_diffusers.get_verbosity(), of_transformers.get_verbosity()) == before
