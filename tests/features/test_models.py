"""Which models are here."""

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.features.models import ModelState, folders, survey


def test_every_row_of_the_catalogue_is_here_or_says_why_not():
    states = survey()
    assert [state.spec.name for state in states] == list(catalog())
    assert all((state.installed is None) is (state.problem is not None) for state in states)
    absent = next(state for state in states if state.spec.name == "sigma-256")
    assert (absent.problem.code, absent.damaged) == ("model-missing", False)


def test_damaged_is_not_absent():
    spec = catalog()["sigma-256"]
    assert ModelState(spec=spec, problem=PixartError("weights-invalid", "torn")).damaged


def test_folders_of_a_model_folder(toy_folder):
    assert folders(str(toy_folder))["vae"] == toy_folder / "vae"
    with pytest.raises(PixartError):
        folders("sigma-256")
