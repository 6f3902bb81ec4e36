"""The table of settings: it follows the table of fields, and refuses what it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_KEY
from pixart_cli.core.options import (
    BY_SETTING,
    PICTURE_SETTINGS,
    PRESET_SETTINGS,
    PROMPT,
    SETTINGS,
    read_mapping,
)

OPTIONS = (
    "preset res model seed count negative steps guidance guidance_until scheduler kv_compression refine lora "
    "init_image strength encoder_bits output force "
    "metadata device memory torch_compile prompt_cache offline yes json print0 quiet progress dry_run"
)


def test_every_option_of_gen_is_a_setting() -> None:
    assert [setting.key for setting in SETTINGS] == OPTIONS.split()


def test_pixel_settings_follow_the_fields() -> None:
    for key in ("model", "seed", "negative", "steps", "guidance", "scheduler"):
        setting, field = BY_SETTING[key], BY_KEY[key]
        assert setting.decides_pixels
        assert (setting.kind, setting.default, setting.help) == (field.kind, field.default, field.help)
        assert (setting.choices, setting.minimum, setting.maximum) == (
            field.choices,
            field.minimum,
            field.maximum,
        )


def test_a_preset_describes_a_picture_and_not_a_run() -> None:
    assert set(PRESET_SETTINGS) == {
        "res", "model", "seed", "negative", "steps", "guidance", "guidance_until", "scheduler",
        "kv_compression", "refine", "lora", "strength", "encoder_bits", "output", "prompt",
    }  # fmt: skip


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.default is not None], ids=lambda s: s.key)
def test_defaults_pass_their_own_check(setting: Any) -> None:
    assert setting.check(setting.default, source="here") == setting.default


GOOD = [
    ("res", "4K"), ("res", "a3@150+bleed"), ("model", "anything"), ("seed", 0), ("count", 10_000),
    ("negative", ""), ("steps", 1), ("guidance", 1.5), ("scheduler", "lcm"), ("kv_compression", "off"),
    ("kv_compression", "auto"), ("kv_compression", "8"),
    ("refine", "auto"), ("refine", "direct"), ("refine", "3"), ("refine", "0.75"),
    ("lora", ("a.safetensors:0.8", "b")), ("lora", ()), ("init_image", "x.png"), ("strength", 1.0),
    ("encoder_bits", 4), ("guidance_until", 0.7), ("guidance_until", 0),
    ("output", "out/"), ("output", "-"), ("force", True), ("metadata", "none"), ("device", "cuda:3"),
    ("device", "mps"), ("memory", "low"), ("progress", "plain"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_good_values_come_back_as_they_are(key: str, value: Any) -> None:
    assert read_mapping({key: value}, source="here") == {key: value}


BAD = [
    ("res", "4kk", "size-invalid"), ("res", 4, "request-invalid"), ("seed", -1, "request-invalid"),
    ("seed", 1.0, "request-invalid"), ("count", 0, "request-invalid"), ("count", 10_001, "request-invalid"),
    ("negative", "a\x00", "prompt-invalid"), ("steps", True, "request-invalid"),
    ("guidance", float("nan"), "request-invalid"), ("scheduler", "ddpm", "request-invalid"),
    ("kv_compression", "1", "request-invalid"), ("kv_compression", 9, "request-invalid"),
    ("kv_compression", True, "request-invalid"), ("kv_compression", "lots", "request-invalid"),
    ("kv_compression", 2.0, "request-invalid"),
    ("output", "", "output-invalid"), ("output", "a\x00b", "output-invalid"),
    ("output", "x" * 5000, "output-invalid"), ("force", "yes", "usage"), ("force", 1, "usage"),
    ("metadata", "some", "request-invalid"), ("device", "tpu", "usage"), ("device", "cuda:", "usage"),
    ("lora", 3, "request-invalid"), ("lora", ["a", 3], "request-invalid"),
    ("lora", "\x00", "request-invalid"),
    ("lora", ["a"] * 17, "request-invalid"), ("init_image", "", "usage"), ("init_image", "a\x00", "usage"),
    ("strength", 0.0, "request-invalid"), ("strength", 1.01, "request-invalid"),
    ("strength", "much", "request-invalid"), ("encoder_bits", 2, "request-invalid"),
    ("guidance_until", 1.01, "request-invalid"), ("guidance_until", "half", "request-invalid"),
    ("colour", "red", "usage"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "code"), BAD)
def test_wrong_values_are_refused_with_the_code_that_fits(key: str, value: Any, code: str) -> None:
    with pytest.raises(PixartError) as caught:
        read_mapping({key: value}, source="here")
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize(("key", "value", "code"), BAD)
def test_files_have_a_code_of_their_own(key: str, value: Any, code: str) -> None:
    with pytest.raises(PixartError) as caught:
        read_mapping({key: value}, source="x.toml:3", code="config-invalid")
    assert caught.value.code == "config-invalid"
    assert caught.value.message.startswith("x.toml:3: ")


def test_loras_may_be_written_as_one_or_as_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    setting = BY_SETTING["lora"]
    assert setting.check("a:0.5", source="here") == ("a:0.5",)
    assert setting.check(["a", " b "], source="here") == ("a", "b")
    assert setting.read("a:0.5; b;", source="PIXART_LORA") == ("a:0.5", "b")
    assert setting.check("~/a:2", source="here") == (f"{tmp_path}/a:2",)
    assert BY_SETTING["init_image"].check("~/x.png", source="here") == f"{tmp_path}/x.png"


def test_a_ratio_may_be_written_as_a_number() -> None:
    assert read_mapping({"kv_compression": 2}, source="here") == {"kv_compression": "2"}


def test_a_model_folder_at_home_is_found_where_no_shell_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    setting = BY_SETTING["model"]
    assert setting.check("~/models/mine", source="here") == f"{tmp_path}/models/mine"
    assert setting.read("~/models/mine/", source="PIXART_MODEL") == f"{tmp_path}/models/mine"
    assert setting.check("~", source="here") == str(tmp_path)
    for other in ("mini", "~somebody/mine", "./~/mine", "models/~/mine", "mine~"):
        assert setting.check(other, source="here") == other


def test_none_is_not_typed() -> None:
    assert read_mapping({"steps": None, "seed": 3, "force": None}, source="here") == {"seed": 3}


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(PixartError) as caught:
        read_mapping({"step": 3}, source="here")
    assert caught.value.hint == "Did you mean 'steps'?"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("steps", " 30 ", 30), ("guidance", "3", 3.0), ("guidance", "1e-05", 1e-05), ("guidance", "3.5", 3.5),
        ("seed", "9223372036854775807", 2**63 - 1),
        ("force", "1", True), ("force", "TRUE", True), ("quiet", "no", False), ("quiet", "0", False),
        ("res", "4k", "4k"), ("kv_compression", "off", "off"), ("kv_compression", "2", "2"),
    ],
)  # fmt: skip
def test_text_of_the_environment_is_read_by_kind(key: str, text: str, value: Any) -> None:
    read = BY_SETTING[key].read(text, source="PIXART_X")
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "text"),
    [("steps", "many"), ("steps", "3.5"), ("guidance", "nan"), ("force", "maybe"), ("seed", "9" * 5000)],
)
def test_text_of_the_wrong_kind_is_refused(key: str, text: str) -> None:
    with pytest.raises(PixartError) as caught:
        BY_SETTING[key].read(text, source="PIXART_X", code="config-invalid")
    assert caught.value.code == "config-invalid"
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("text", ["no place", "{prompt} and {prompt}", "{Prompt}"])
def test_a_sentence_holds_the_prompt_exactly_once(text: str) -> None:
    with pytest.raises(PixartError, match="exactly once"):
        PROMPT.check(text, source="x.toml:1")
    assert PROMPT.check("a {prompt} {of} glass", source="x.toml:1") == "a {prompt} {of} glass"


def test_letters_are_those_of_one_option_each() -> None:
    letters = [row.short for row in SETTINGS if row.short]
    assert sorted(letters) == sorted(set("prmsnofyq0"))


def test_what_a_picture_of_a_batch_may_have_of_its_own() -> None:
    assert set(PICTURE_SETTINGS) == {
        "preset", "res", "model", "seed", "count", "negative", "steps", "guidance", "scheduler",
        "kv_compression", "refine", "lora", "init_image", "strength", "encoder_bits", "output",
        "metadata", "guidance_until",
    }  # fmt: skip
    assert all(row.whole_batch for row in SETTINGS if row.key not in PICTURE_SETTINGS)
