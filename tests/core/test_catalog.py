"""The models as data, the default for a size, and folders that describe themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pixart_cli.core.catalog import (
    NATIVE_SIZES,
    catalog,
    default_model,
    family_row,
    get_model,
    is_folder,
    spec_of_folder,
)
from pixart_cli.core.components import COMPONENTS, SHARED
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import BY_KEY
from pixart_cli.core.resolution import choose_bin

NAMES = ["mini", "sigma-256", "sigma-512", "sigma-1024", "sigma-2k", "alpha-512", "alpha-1024", "lcm", "dmd"]
PEERS = ["sdxl", "cascade"]


def test_the_models_pixart_knows() -> None:
    assert list(catalog()) == NAMES + PEERS
    assert [name for name, spec in catalog().items() if spec.built_in] == ["mini"]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_sound(name: str) -> None:
    spec = get_model(name)
    assert spec.native in NATIVE_SIZES
    assert spec.transformer_config["sample_size"] == spec.native // 8
    assert spec.transformer_config["interpolation_scale"] == spec.native / 512
    assert set(spec.parts) == (set() if spec.built_in else set(COMPONENTS))


@pytest.mark.parametrize("name", NAMES + PEERS)
def test_the_defaults_of_every_row_can_be_asked_for(name: str) -> None:
    spec = get_model(name)
    assert BY_KEY["steps"].check(spec.default_steps) == spec.default_steps
    assert BY_KEY["guidance"].check(spec.default_guidance) == spec.default_guidance
    until = spec.default_guidance_until
    assert BY_KEY["guidance_until"].check(until) == until
    assert BY_KEY["scheduler"].check(spec.default_scheduler) == spec.default_scheduler
    assert len(spec.timesteps) in (0, spec.default_steps)
    assert set(spec.parts) == (set() if spec.built_in else set(spec.components))
    assert spec.is_peer == (name in PEERS)


def test_only_alpha_at_1024_is_told_size_and_shape() -> None:
    told = {
        name for name, spec in catalog().items() if spec.transformer_config.get("use_additional_conditions")
    }
    assert told == {"alpha-1024", "lcm"}


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("sigma-256", "PixArt-alpha/PixArt-Sigma-XL-2-256x256"),
        ("sigma-512", "PixArt-alpha/PixArt-Sigma-XL-2-512-MS"),
        ("sigma-1024", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"),
        ("sigma-2k", "PixArt-alpha/PixArt-Sigma-XL-2-2K-MS"),
        ("alpha-512", "PixArt-alpha/PixArt-XL-2-512x512"),
        ("alpha-1024", "PixArt-alpha/PixArt-XL-2-1024-MS"),
        ("lcm", "PixArt-alpha/PixArt-LCM-XL-2-1024-MS"),
        ("dmd", "PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512"),
    ],
)
def test_the_transformer_comes_from_the_right_repository(name: str, repo: str) -> None:
    part = get_model(name).parts["transformer"]
    assert (part.repo, part.subfolder) == (repo, "transformer")


def test_models_of_a_family_share_the_large_parts() -> None:
    def rest(name: str) -> set[str]:
        return {part.repo for part in get_model(name).parts.values() if part.subfolder != "transformer"}

    assert rest("sigma-2k") == rest("sigma-256") == {"PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers"}
    assert rest("alpha-512") == rest("lcm") == rest("dmd") == {"PixArt-alpha/PixArt-XL-2-1024-MS"}
    assert get_model("sigma-2k").parts["vae"].also == ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",)


def test_pickled_weights_are_never_asked_for() -> None:
    patterns = {p for spec in catalog().values() for part in spec.parts.values() for p in part.allow}
    assert patterns
    assert not [p for p in patterns if p.endswith((".bin", ".pth", ".ckpt", ".pt", ".msgpack", ".h5", "*"))]


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(PixartError) as caught:
        get_model("Sigma-1k")
    assert (caught.value.code, caught.value.hint) == ("model-unknown", "Did you mean 'sigma-2k'?")
    with pytest.raises(PixartError) as caught:
        get_model("zzz")
    assert caught.value.hint.startswith("Known: mini, sigma-256")


@pytest.mark.parametrize(
    ("installed", "size", "expected"),
    [
        ([], (None, None), "mini"),
        (["mini"], (3840, 2160), "mini"),
        (["mini", "sigma-256"], (256, 256), "sigma-256"),
        (["mini", "sigma-1024", "sigma-2k"], (None, None), "sigma-1024"),
        (["mini", "sigma-1024", "sigma-2k"], (1024, 1024), "sigma-1024"),
        (["mini", "sigma-1024", "sigma-2k"], (1080, 1080), "sigma-1024"),
        (["mini", "sigma-1024", "sigma-2k"], (1920, 1080), "sigma-2k"),
        (["sigma-1024", "sigma-2k"], (9933, 14043), "sigma-2k"),
        (["sigma-512", "alpha-1024"], (3840, 2160), "alpha-1024"),
        (["alpha-1024", "sigma-1024"], (3840, 2160), "sigma-1024"),
        (["alpha-512", "sigma-1024"], (512, 512), "sigma-1024"),
        (["lcm", "alpha-1024", "dmd"], (1024, 1024), "alpha-1024"),
        (["mini", "someone/else"], (64, 64), "mini"),
    ],
)
def test_the_default_is_the_best_installed_for_the_size(
    installed: list[str], size: tuple[int | None, int | None], expected: str
) -> None:
    assert default_model(installed, *size) == expected
    assert default_model(list(reversed(installed)), *size) == expected


def model_folder(folder: Path, config: Any, index: Any = None, tokenizer: Any = None) -> Path:
    files = {"transformer/config.json": config, "model_index.json": index or {}}
    files["tokenizer/tokenizer_config.json"] = tokenizer or {}
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine", {"sample_size": 64, "interpolation_scale": 1})
    spec = spec_of_folder(folder)
    assert (spec.name, spec.family, spec.native, spec.max_tokens) == (str(folder), "sigma", 512, 300)
    assert spec.transformer_config == {"sample_size": 64, "interpolation_scale": 1}
    assert (spec.default_steps, spec.default_guidance, spec.default_scheduler) == (20, 4.5, "dpm++")


def test_a_folder_at_4096_has_its_shapes(tmp_path: Path) -> None:
    spec = spec_of_folder(model_folder(tmp_path, {"sample_size": 512, "interpolation_scale": 8}))
    found = choose_bin(3840, 2160, spec.native)
    assert (spec.native, found.width, found.height) == (4096, 5376, 3072)


def test_a_folder_of_the_older_kind_and_of_a_short_tokenizer(tmp_path: Path) -> None:
    alpha = model_folder(tmp_path, {"sample_size": 128}, {"_class_name": "PixArtAlphaPipeline"})
    assert (spec_of_folder(alpha).family, spec_of_folder(alpha).max_tokens) == ("alpha", 120)
    short = model_folder(tmp_path, {"sample_size": 32}, tokenizer={"model_max_length": 64})
    assert spec_of_folder(short).max_tokens == 64


def test_a_folder_of_few_steps_is_known_by_its_scheduler_or_by_name(tmp_path: Path) -> None:
    lcm = model_folder(tmp_path / "lcm", {"sample_size": 128})
    (lcm / "scheduler").mkdir()
    (lcm / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "LCMScheduler"}')
    spec = spec_of_folder(lcm)
    assert (spec.default_steps, spec.default_guidance, spec.default_scheduler) == (4, 1.0, "lcm")
    assert (spec.refine, spec.distilled) == (None, True)
    dmd = model_folder(tmp_path / "dmd", {"sample_size": 64}, {"_pixart_model": "dmd"})
    assert (spec_of_folder(dmd).default_steps, spec_of_folder(dmd).timesteps) == (1, (400,))
    for name in ("evil", ["dmd"], 3):
        with pytest.raises(PixartError, match="_pixart_model") as caught:
            spec_of_folder(model_folder(tmp_path / "evil", {"sample_size": 64}, {"_pixart_model": name}))
        assert caught.value.code == "weights-invalid"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"sample_size": 48},
        {"sample_size": "64"},
        {"sample_size": True},
        [],
        "{",
        "[" * 99_999,
        " " * (1 << 20) + "{}",
    ],
    ids=["empty", "odd", "text", "truth", "list", "torn", "deep", "long"],
)
def test_a_folder_with_a_strange_configuration_is_refused(tmp_path: Path, config: Any) -> None:
    with pytest.raises(PixartError) as caught:
        spec_of_folder(model_folder(tmp_path, config))
    assert caught.value.code == "weights-invalid"


def test_a_folder_that_lacks_a_part_is_incomplete(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, {"sample_size": 32})
    (folder / "transformer" / "config.json").unlink()
    with pytest.raises(PixartError, match=r"transformer/config\.json is missing") as caught:
        spec_of_folder(folder)
    assert caught.value.code == "model-missing"


@pytest.mark.parametrize("length", [0, -5, "long", None])
def test_a_tokenizer_without_a_sensible_length_leaves_the_usual_one(tmp_path: Path, length: Any) -> None:
    folder = model_folder(tmp_path, {"sample_size": 32}, tokenizer={"model_max_length": length})
    assert spec_of_folder(folder).max_tokens == 300


@pytest.mark.parametrize(
    ("compression", "ratio"),
    [(None, 1), ({"sampling": "conv", "ratio": 2}, 2), ({"ratio": "2"}, 1), ({"ratio": -2}, 1), ([2], 1)],
    ids=["none", "two", "text", "less than none", "list"],
)
def test_a_folder_says_what_compression_it_was_trained_with(
    tmp_path: Path, compression: Any, ratio: int
) -> None:
    folder = model_folder(tmp_path, {"sample_size": 64, "kv_compression": compression})
    assert spec_of_folder(folder).kv_ratio == ratio
    assert not spec_of_folder(folder).qk_norm


def test_a_folder_says_whether_queries_and_keys_are_normed(tmp_path: Path) -> None:
    compression = {"sampling": "conv", "ratio": 1, "layers": [], "qk_norm": True}
    folder = model_folder(tmp_path, {"sample_size": 64, "kv_compression": compression})
    assert (spec_of_folder(folder).kv_ratio, spec_of_folder(folder).qk_norm) == (1, True)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PixartError) as caught:
        spec_of_folder(tmp_path)
    assert caught.value.code == "weights-invalid"
    with pytest.raises(PixartError) as caught:
        spec_of_folder(tmp_path / "nowhere")
    assert caught.value.code == "model-unknown"


def test_what_counts_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    (tmp_path / "mine").mkdir()
    assert not is_folder("mini")
    assert is_folder("./mini")
    assert is_folder("mine")
    assert not is_folder("sigma-3k")
    assert not is_folder("x" * 5000)


def test_a_tokenizer_that_is_elsewhere_leaves_the_usual_length(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, {"sample_size": 32})
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(PixartError, match="tokenizer_config"):
        spec_of_folder(folder)
    (folder / "tokenizer").rmdir()
    assert spec_of_folder(folder).max_tokens == 300


def test_a_family_has_its_first_row_of_parts() -> None:
    assert (family_row("sigma").name, family_row("alpha").name) == ("sigma-256", "alpha-512")
    for family in ("sigma", "alpha"):
        rows = [spec for spec in catalog().values() if spec.family == family]
        for component in SHARED:
            assert len({spec.parts[component] for spec in rows}) == 1
    with pytest.raises(KeyError):
        family_row("mini")
