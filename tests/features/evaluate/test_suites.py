"""The suites by name."""

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.evaluate.suites import SUITES, get_suite


def test_suites_are_found_by_name_and_others_refused() -> None:
    assert [get_suite(name).name for name in SUITES] == ["mini", "captions"]
    with pytest.raises(PixartError, match="no suite 'geneval'") as caught:
        get_suite("geneval")
    assert caught.value.exit_code == 2
