"""The table of keys."""

import re
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.finetune.config import TrainConfig
from pixart_cli.features.finetune.table import FREE, KEYS, ROWS


def test_rows_and_fields_are_the_same_in_order_of_the_table() -> None:
    fields = set(TrainConfig.__dataclass_fields__) - {"recipe", "origins"}
    assert {row.key for row in ROWS} == fields
    assert len(ROWS) == len(KEYS)


def test_every_default_passes_its_own_check() -> None:
    for row in ROWS:
        if row.default != "":
            assert row.check(row.default, source="table") == row.default
        assert row.help


def test_what_is_free_is_in_the_table() -> None:
    assert set(KEYS) >= FREE


@pytest.mark.parametrize("value", ["a", [1], [""], {"a": 1}])
def test_lists_of_texts_are_nothing_else(value: object) -> None:
    with pytest.raises(PixartError, match="sample_prompts cannot be"):
        KEYS["sample_prompts"].check(value, source="x.toml:1", code="config-invalid")


@pytest.mark.parametrize("value", [3, ["a"], [-1], [True], [1.0]])
def test_lists_of_counts_are_nothing_else(value: object) -> None:
    with pytest.raises(PixartError, match="export_at cannot be"):
        KEYS["export_at"].check(value, source="x.toml:1", code="config-invalid")
    assert KEYS["export_at"].check([100, 0, 100], source="x") == (0, 100)


def test_places_below_home_are_there(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert KEYS["data"].check("~/pictures", source="x") == str(tmp_path / "pictures")
    with pytest.raises(PixartError):
        KEYS["data"].check(" ", source="x")


def test_the_page_lists_every_key_with_its_default_and_no_other() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "train.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", page.split("## Keys")[1], re.MULTILINE)
    assert [key for key, _, _ in rows] == [row.key for row in ROWS]
    for key, default, means in rows:
        assert means.startswith(KEYS[key].help), key
        value = KEYS[key].default
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert float(default.strip("`")) == value, key
