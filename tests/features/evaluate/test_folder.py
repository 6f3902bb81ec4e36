"""The folder of an evaluation: one evaluation each, and nothing else's."""

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.evaluate.folder import RunFolder


def test_a_folder_is_gone_on_with_by_the_same_evaluation_alone(tmp_path) -> None:
    RunFolder(tmp_path / "a").begin({"seed": 1})
    RunFolder(tmp_path / "a").begin({"seed": 1})
    with pytest.raises(PixartError, match="seed differ") as caught:
        RunFolder(tmp_path / "a").begin({"seed": 2})
    assert (caught.value.code, caught.value.exit_code) == ("output-invalid", 2)


@pytest.mark.parametrize("name", ["photo.jpg", "run.json"])
def test_a_folder_of_other_things_is_left_alone(tmp_path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(PixartError, match="no folder of an evaluation"):
        RunFolder(tmp_path).begin({"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == [name]
