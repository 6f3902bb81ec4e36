"""Configurations: layers, lines, recipes, and what cannot be."""

from pathlib import Path

import pytest

from pixart_cli.core.catalog import NATIVE_SIZES
from pixart_cli.features.finetune.config import read_config, recipe_files, recipe_values
from tests.features.finetune.conftest import refused

BASE = 'model = "mini"\ndata = "d"\nout = "o"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.toml"
    path.write_text(text)
    return path


def test_typed_beats_file_beats_recipe_beats_built_in(tmp_path) -> None:
    path = write(tmp_path, BASE + 'recipe = "lora"\nsteps = 7\nlora_rank = 3\n')
    config = read_config(path, {"steps": 9, "data": None})
    assert (config.recipe, config.method, config.steps, config.lora_rank) == ("lora", "lora", 9, 3)
    assert (config.min_snr, config.seed) == (5.0, 0)
    where = [config.origins[key] for key in ("steps", "lora_rank", "min_snr", "seed")]
    assert where == ["command line", f"{path}:6", "recipe lora", "built-in"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("learningrate = 1.0", "unknown key 'learningrate'"),
        ("steps = 0", "steps cannot be 0"),
        ('steps = "many"', "steps cannot be 'many'"),
        ("learning_rate = inf", "learning_rate cannot be inf"),
        ('optimizer = "sgd"', "optimizer cannot be 'sgd'"),
        ("image_size = 300", "image_size cannot be 300"),
        ('kv_compression = "conv:1:0-3"', "no KV compression"),
        ('kv_start = "random"', "nothing is compressed"),
        ('method = "lora"\nimage_size = 512', "a LoRA cannot hold another size"),
        ('method = "lora"\nvae = "v"', "a LoRA cannot hold a new VAE"),
        ('method = "lora"\nema = 0.9', "without an average"),
        ('method = "lora"\nlearn_sigma = "on"', "leaves the variance"),
        ('class_data = "c"', "class_prompt is not"),
        ('class_prompt = "a dog"', "class_data is not"),
        ("sample_every = 5", "no sample_prompts"),
        ("steps = 10\nwarmup_steps = 10", "warmup_steps is 10 of 10"),
        ("steps = 10\nexport_at = [0, 11]", "there is no step 11 to export"),
    ],
)
def test_what_cannot_be_names_its_line(tmp_path, line: str, says: str) -> None:
    path = write(tmp_path, BASE + line + "\n")
    error = refused(lambda: read_config(path, {}))
    assert (error.code, error.exit_code) == ("config-invalid", 2)
    number = len((BASE + line).splitlines())
    assert error.message.startswith(f"{path}:{number}: ")
    assert says in error.message
    assert error.hint


@pytest.mark.parametrize("key", ["model", "data", "out"])
def test_what_must_be_said_is_asked_for(tmp_path, key: str) -> None:
    lines = [line for line in BASE.splitlines() if not line.startswith(key)]
    error = refused(lambda: read_config(write(tmp_path, "\n".join(lines)), {}))
    assert f"{key} is missing" in error.message
    assert f"{key} = " in error.hint


def test_a_recipe_says_what_it_needs(tmp_path) -> None:
    error = refused(lambda: read_config(write(tmp_path, BASE + 'recipe = "vae-swap"\n'), {}))
    assert "vae is missing, which the recipe vae-swap needs" in error.message
    assert 'Write vae = "…":' in error.hint
    error = refused(lambda: read_config(write(tmp_path, BASE + 'recipe = "resolution"\n'), {}))
    assert "Write image_size = …:" in error.hint  # a number has no quotes


def test_a_file_that_is_not_there_is_told_so(tmp_path) -> None:
    error = refused(lambda: read_config(tmp_path / "nothing.toml", {}))
    assert (error.code, error.message) == ("config-invalid", f"there is no file {tmp_path / 'nothing.toml'}")


def test_every_native_size_can_be_trained_at(tmp_path) -> None:
    for size in NATIVE_SIZES:
        assert read_config(write(tmp_path, BASE + f"image_size = {size}\n"), {}).image_size == size


def test_every_recipe_makes_a_configuration(tmp_path) -> None:
    assert set(recipe_files()) == {"vae-swap", "resolution", "kv-compress", "lora", "dreambooth"}
    needs = {"vae": '"v"', "image_size": "512", "instance_prompt": '"a sks dog"'}
    for name in recipe_files():
        told = [f"{key} = {needs[key]}\n" for key in recipe_values(name).get("needs", ())]
        config = read_config(write(tmp_path, BASE + f'recipe = "{name}"\n' + "".join(told)), {})
        assert config.recipe == name


def test_a_recipe_starts_from_another() -> None:
    values = recipe_values("dreambooth")
    assert (values["method"], values["steps"]) == ("lora", 500)


def test_recipes_of_ones_own_hide_those_that_ship(own_folders, tmp_path) -> None:
    folder = own_folders / "config" / "presets" / "train"
    folder.mkdir(parents=True)
    (folder / "lora.toml").write_text("steps = 3\n")
    (folder / "loop.toml").write_text('recipe = "loop"\n')
    assert read_config(write(tmp_path, BASE + 'recipe = "lora"\n'), {}).steps == 3
    assert "starts from itself" in refused(lambda: recipe_values("loop")).message


def test_an_unknown_recipe_names_the_line_and_what_was_meant(tmp_path) -> None:
    path = write(tmp_path, BASE + 'recipe = "kv-compres"\n')
    error = refused(lambda: read_config(path, {}))
    assert error.message.startswith(f"{path}:4: ")
    assert "kv-compress" in error.hint


def test_a_recipe_is_no_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(lambda: read_config(Path("lora"), {}))
    assert (error.exit_code, error.message) == (2, "lora is a recipe, and no file")
    assert 'recipe = "lora"' in error.hint


def test_compression_of_the_deep_half_or_of_layers(tmp_path) -> None:
    def read(text: str):
        return read_config(write(tmp_path, BASE + f'kv_compression = "{text}"\n'), {}).compression

    assert read("off") is None
    assert read("conv:2:deep") == {"sampling": "conv", "ratio": 2}
    assert read("uniform:2:3-5") == {"sampling": "uniform", "ratio": 2, "layers": [3, 4, 5]}


def test_json_data_of_a_configuration(tmp_path) -> None:
    values = read_config(write(tmp_path, BASE), {}).to_dict()
    assert values["lora_targets"][0] == "to_k"
    assert "origins" not in values
