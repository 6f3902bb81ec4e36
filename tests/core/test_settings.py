"""Precedence between the sources, and requests from what they say together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent
from pixart_cli.core.settings import (
    SETTINGS,
    Inputs,
    Settings,
    from_environment,
    lay_over,
    read_toml,
    resolve_requests,
    unknown_variables,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config" / "presets").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    return tmp_path


def over(home: Path, typed: dict[str, Any] | None = None, **environ: str) -> Settings:
    environ = {"PIXART_CONFIG_DIR": str(home / "config"), **environ}
    return lay_over(typed or {}, environ=environ, cwd=home / "here")


def resolve(
    home: Path, typed: dict[str, Any], *prompts: str, installed: tuple[str, ...] = ("mini",)
) -> list[Any]:
    return resolve_requests(over(home, typed), prompts or ("a red sun",), installed=installed)


def test_built_in_values_come_last(home: Path) -> None:
    settings = over(home)
    assert settings.values == {setting.key: setting.default for setting in SETTINGS}
    assert set(settings.origins.values()) == {"built-in"}
    assert settings.warnings == ()


def test_each_source_beats_the_weaker_ones(home: Path) -> None:
    sources: list[tuple[str, int]] = []
    (home / "config" / "presets" / "p.toml").write_text("steps = 2\n")
    (home / "config" / "config.toml").write_text('preset = "p"\n')
    sources.append((over(home).origins["steps"], over(home).values["steps"]))
    (home / "config" / "config.toml").write_text('preset = "p"\nsteps = 3\n')
    sources.append((over(home).origins["steps"], over(home).values["steps"]))
    (home / "here" / "pixart.toml").write_text("steps = 4\n")
    sources.append((over(home).origins["steps"], over(home).values["steps"]))
    settings = over(home, PIXART_STEPS="5")
    sources.append((settings.origins["steps"], settings.values["steps"]))
    settings = over(home, {"steps": 6}, PIXART_STEPS="5")
    sources.append((settings.origins["steps"], settings.values["steps"]))
    assert sources == [
        ("preset p", 2), (str(home / "config" / "config.toml"), 3), (str(home / "here" / "pixart.toml"), 4),
        ("environment", 5), ("typed", 6),
    ]  # fmt: skip


def test_the_strongest_preset_is_the_only_one(home: Path) -> None:
    (home / "here" / "pixart.toml").write_text('preset = "travel-poster"\n')
    assert over(home).values["res"] == "a3"
    settings = over(home, {"preset": "flat"}, PIXART_PRESET="story")
    assert (settings.values["preset"], settings.values["res"]) == ("flat", None)
    assert settings.origins["preset"] == "typed"
    assert "flat" in settings.values["prompt"]


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ({"preset": "flatt"}, "preset-unknown"),
        ({"steps": 0}, "request-invalid"),
        ({"res": "9k"}, "size-invalid"),
        ({"device": "tpu"}, "usage"),
        ({"kv_compression": "1"}, "request-invalid"),
    ],
)
def test_typed_mistakes(home: Path, typed: dict[str, Any], code: str) -> None:
    with pytest.raises(PixartError) as caught:
        over(home, typed)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)


def test_mistakes_in_files_and_variables_name_them(home: Path) -> None:
    with pytest.raises(PixartError, match="PIXART_STEPS: steps cannot be 'many'") as caught:
        over(home, PIXART_STEPS="many")
    assert caught.value.code == "config-invalid"
    (home / "here" / "pixart.toml").write_text("seed = 1\nstepps = 3\n")
    with pytest.raises(PixartError, match=r"pixart\.toml:2: unknown key 'stepps'") as caught:
        over(home)
    assert caught.value.code == "config-invalid"


def test_a_missing_file_sets_nothing_but_a_dangling_link_is_told(tmp_path: Path) -> None:
    assert read_toml(tmp_path / "none.toml") == {}
    (tmp_path / "link.toml").symlink_to(tmp_path / "gone")
    with pytest.raises(PixartError, match="no such file"):
        read_toml(tmp_path / "link.toml")


def test_every_setting_can_come_from_the_environment() -> None:
    examples = {
        "preset": "flat", "res": "4k", "model": "mini", "seed": 3, "count": 2, "negative": "fog", "steps": 4,
        "guidance": 2.5, "scheduler": "euler", "kv_compression": "off", "refine": "0.8",
        "lora": ("a:0.5",), "init_image": "x.png", "strength": 0.4, "encoder_bits": 8,
        "guidance_until": 0.5, "output": "out/",
        "force": True, "metadata": "none", "device": "cpu", "memory": "low", "torch_compile": True,
        "prompt_cache": 0, "offline": True, "yes": False, "json": True, "print0": True, "quiet": True,
        "progress": "none", "dry_run": True,
    }  # fmt: skip
    assert set(examples) == {setting.key for setting in SETTINGS}
    texts = {key: value[0] if key == "lora" else str(value) for key, value in examples.items()}
    environ = {f"PIXART_{key.upper()}": text for key, text in texts.items()}
    assert from_environment(environ) == examples


def test_empty_variables_count_as_not_set() -> None:
    assert from_environment({"PIXART_STEPS": "", "PIXART_RES": "  "}) == {}


def test_strange_variables_are_a_warning_and_documented_ones_are_not(home: Path) -> None:
    assert unknown_variables({"PIXART_DEBUG": "1", "PIXART_STATE_DIR": "x", "OTHER": "y"}) == ()
    settings = over(home, PIXART_STEP="3", PIXART_ZZZZZZZZZZ="1")
    assert settings.warnings == (
        "PIXART_STEP sets nothing; did you mean PIXART_STEPS?", "PIXART_ZZZZZZZZZZ sets nothing",
    )  # fmt: skip


def test_what_is_not_asked_for_comes_from_the_model(home: Path) -> None:
    (job,) = resolve(home, {"seed": 7})
    request = job.request
    assert (request.model, request.width, request.height) == ("mini", 256, 256)
    assert (request.num_inference_steps, request.guidance_scale, request.scheduler) == (20, 4.5, "dpm++")
    assert (request.seed, job.index, job.preset, job.prompt) == (7, 0, None, "a red sun")
    (job,) = resolve(home, {"model": "lcm"})
    assert (job.request.num_inference_steps, job.request.guidance_scale) == (4, 1.0)
    assert (job.request.scheduler, job.request.width) == ("lcm", 1024)


def test_what_is_asked_for_is_kept(home: Path) -> None:
    typed = {
        "model": "sigma-2k", "res": "a3@300+bleed", "steps": 9, "guidance": 0.0, "scheduler": "ddim",
        "seed": 0, "negative": "fog",
    }  # fmt: skip
    (job,) = resolve(home, typed)
    assert job.request.to_dict() == {
        "prompt": "a red sun", "negative_prompt": "fog", "model": "sigma-2k", "width": 3579, "height": 5031,
        "num_inference_steps": 9, "guidance_scale": 0.0, "scheduler": "ddim", "seed": 0,
        "kv_compression": "off", "refine": "auto", "lora": "", "init_image": "", "strength": 1.0,
        "text_encoder_bits": 16, "guidance_until": 1.0,
    }  # fmt: skip
    assert (job.size.dpi, job.size.bleed_mm, job.size.name) == (300.0, 3.0, "a3")


def test_files_are_named_by_their_hash(home: Path) -> None:
    parent = Parent(sha256="a" * 64, fingerprint="b" * 64)
    inputs = Inputs(lora="c" * 64 + ":0.5", parent=parent)
    (job,) = resolve_requests(over(home), ["a"], installed=["mini"], inputs=inputs)
    assert (job.request.lora, job.request.init_image) == (inputs.lora, parent.sha256)
    assert (job.request.strength, job.parent) == (0.6, parent)
    (job,) = resolve_requests(over(home, {"strength": 0.3}), ["a"], installed=["mini"], inputs=inputs)
    assert job.request.strength == 0.3


def test_a_strength_needs_an_init_image_and_a_model_that_starts_from_one(home: Path) -> None:
    with pytest.raises(PixartError, match="there is none") as caught:
        resolve(home, {"strength": 0.3})
    assert caught.value.code == "usage"
    inputs = Inputs(parent=Parent(sha256="a" * 64))
    with pytest.raises(PixartError, match="dmd cannot start from an init image") as caught:
        resolve_requests(over(home, {"model": "dmd"}), ["a"], installed=[], inputs=inputs)
    assert caught.value.code == "request-invalid"
    assert resolve_requests(over(home, {"model": "lcm"}), ["a"], installed=[], inputs=inputs)


def test_bits_of_the_encoder_are_kept_but_for_the_model_with_a_tiny_one(home: Path) -> None:
    (home / "pixart.toml").write_text("encoder_bits = 4\n")
    over_files = lay_over({"model": "sigma-1024"}, environ={}, cwd=home)
    (job,) = resolve_requests(over_files, ["a"], installed=[])
    assert job.request.text_encoder_bits == 4
    (job,) = resolve_requests(lay_over({}, environ={}, cwd=home), ["a"], installed=[])
    assert (job.request.model, job.request.text_encoder_bits) == ("mini", 16)
    with pytest.raises(PixartError, match="--encoder-bits is for PixArt's networks") as caught:
        resolve(home, {"model": "sdxl", "encoder_bits": 8})
    assert caught.value.code == "request-invalid"


def test_refining_may_be_written_as_a_word_or_a_number(home: Path) -> None:
    for value, kept in (("off", "off"), (2, "2"), (0.8, "0.8"), ("direct", "direct"), (None, "auto")):
        (job,) = resolve(home, {"model": "sigma-1024", "refine": value})
        assert job.request.refine == kept
    (home / "pixart.toml").write_text("refine = 0.5\n")
    (job,) = resolve_requests(lay_over({}, environ={}, cwd=home), ["a"], installed=[])
    assert job.request.refine == "0.5"
    (home / "pixart.toml").write_text("refine = 9\n")
    with pytest.raises(PixartError, match=r"pixart.toml:1.*refine cannot be '9'"):
        lay_over({}, environ={}, cwd=home)
    with pytest.raises(PixartError, match="dmd cannot be drawn with refine 1"):
        resolve(home, {"model": "dmd", "refine": 1})


def test_a_ratio_is_one_the_model_can_do(home: Path) -> None:
    (job,) = resolve(home, {"model": "sigma-2k", "kv_compression": 8})
    assert job.request.kv_compression == "8"
    with pytest.raises(PixartError, match="mini cannot be drawn with kv_compression 8") as caught:
        resolve(home, {"model": "mini", "kv_compression": "8"})
    assert caught.value.code == "request-invalid"


def test_the_default_model_follows_the_size(home: Path) -> None:
    installed = ("mini", "sigma-1024", "sigma-2k")
    (small,) = resolve(home, {"res": "1024x1024"}, installed=installed)
    (large,) = resolve(home, {"res": "4k"}, installed=installed)
    assert (small.request.model, large.request.model) == ("sigma-1024", "sigma-2k")


def test_prompts_and_counts_make_jobs_in_order(home: Path) -> None:
    jobs = resolve(home, {"seed": 10, "count": 2}, "a", "b")
    assert [(job.index, job.request.prompt, job.request.seed) for job in jobs] == [
        (0, "a", 10), (1, "a", 11), (2, "b", 10), (3, "b", 11),
    ]  # fmt: skip


def test_a_seed_that_is_not_given_is_drawn_for_each_prompt_and_counts_up(home: Path) -> None:
    jobs = resolve(home, {"count": 2}, "a", "b", "c")
    seeds = [job.request.seed for job in jobs]
    assert all(second == first + 1 for first, second in zip(seeds[::2], seeds[1::2], strict=True))
    assert len(set(seeds[::2])) == 3
    assert all(0 <= seed <= 2**32 for seed in seeds)


def test_seeds_cannot_count_past_the_largest(home: Path) -> None:
    with pytest.raises(PixartError) as caught:
        resolve(home, {"seed": 2**63 - 1, "count": 2})
    assert caught.value.code == "request-invalid"


def test_a_style_goes_around_the_prompt_whatever_it_holds(home: Path) -> None:
    (home / "config" / "presets" / "s.toml").write_text('prompt = "a {x} woodcut of {prompt}, bold"\n')
    (job,) = resolve(home, {"preset": "s"}, "{prompt} {seed} \\1 %s")
    assert job.request.prompt == "a {x} woodcut of {prompt} {seed} \\1 %s, bold"
    assert (job.prompt, job.preset) == ("{prompt} {seed} \\1 %s", "s")


@pytest.mark.parametrize("prompt", ["", "  ", "a\x00b", "caf\udce9", "x" * 70_000])
def test_a_wrong_prompt_is_refused_before_a_style_hides_it(home: Path, prompt: str) -> None:
    with pytest.raises(PixartError) as caught:
        resolve(home, {"preset": "flat"}, prompt)
    assert caught.value.code == "prompt-invalid"


def test_a_folder_of_weights_is_a_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "mine"
    for name, value in (
        ("transformer/config", {"sample_size": 32}),
        ("model_index", {}),
        ("tokenizer/tokenizer_config", {}),
    ):
        (folder / f"{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(value))
    (job,) = resolve(home, {"model": str(folder)})
    assert (job.request.model, job.request.width) == (str(folder), 256)
    monkeypatch.setenv("HOME", str(home))
    (home / "here" / "pixart.toml").write_text("model = '~/mine'\n")
    for settings in (over(home), over(home, PIXART_MODEL="~/mine"), over(home, {"model": "~/mine"})):
        assert settings.values["model"] == str(folder)


@pytest.mark.parametrize("model", ["sigma-3k", "./nowhere"])
def test_an_unknown_model_is_refused(home: Path, model: str) -> None:
    with pytest.raises(PixartError) as caught:
        resolve(home, {"model": model})
    assert caught.value.code == "model-unknown"


def test_an_unknown_name_is_blamed_on_whoever_said_it(home: Path) -> None:
    (home / "here" / "pixart.toml").write_text("seed = 1\nmodel = 'nope'\n")
    with pytest.raises(PixartError, match=r"here/pixart\.toml:2: no model is named 'nope'") as caught:
        resolve(home, {})
    assert caught.value.code == "model-unknown"
    (home / "here" / "pixart.toml").write_text("preset = 'flatt'\n")
    with pytest.raises(PixartError, match=r"here/pixart\.toml:1: no preset is named 'flatt'") as caught:
        over(home)
    assert (caught.value.code, caught.value.hint) == ("preset-unknown", "Did you mean 'flat'?")
    with pytest.raises(PixartError, match=r"^PIXART_PRESET: no preset is named"):
        over(home, PIXART_PRESET="nope")
    with pytest.raises(PixartError, match=r"^no preset is named"):
        over(home, {"preset": "nope"}, PIXART_PRESET="nope")
    (home / "here" / "pixart.toml").unlink()
    (home / "config" / "presets" / "own.toml").write_text("model = 'nope'\n")
    with pytest.raises(PixartError, match=r"^preset own: no model is named"):
        resolve(home, {"preset": "own"})


def test_a_number_may_begin_with_its_point() -> None:
    assert from_environment({"PIXART_GUIDANCE": ".5"}) == {"guidance": 0.5}


def test_no_preset_can_be_said_against_what_files_and_variables_say(tmp_path: Path) -> None:
    environ = {"PIXART_PRESET": "linocut", "PIXART_CONFIG_DIR": str(tmp_path)}
    assert "lino" in lay_over({}, environ=environ, cwd=tmp_path).values["prompt"]
    unsaid = lay_over({"preset": "none"}, environ=environ, cwd=tmp_path)
    assert (unsaid.values["preset"], "prompt" in unsaid.values) == (None, False)


def test_guidance_that_is_off_ends_nowhere(home: Path) -> None:
    for typed, until in (({}, 0.7), ({"guidance_until": 0.5}, 0.5), ({"guidance": 1.0}, 1.0)):
        (job,) = resolve(home, {"model": "mini"} | typed)
        assert job.request.guidance_until == until
    (job,) = resolve(home, {"model": "mini", "guidance": 0.5, "guidance_until": 0.5})
    assert job.request.guidance_until == 1.0


@pytest.mark.parametrize(
    ("line", "model"),
    [("guidance_until = 0.5", "sdxl"), ('scheduler = "ddim"', "cascade"), ("strength = 0.5", "mini")],
)
def test_what_a_model_cannot_do_is_told_with_file_and_line(home: Path, line: str, model: str) -> None:
    (home / "pixart.toml").write_text(f"\n{line}\n")
    with pytest.raises(PixartError, match=r"pixart\.toml:2: "):
        resolve_requests(lay_over({"model": model}, environ={}, cwd=home), ["a"], installed=[])
