"""What README.md says is so: its commands parse, its options, sizes, presets and exit codes exist."""

from __future__ import annotations

import io
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from pixart_cli.cli.app import app, run
from pixart_cli.cli.train import named
from pixart_cli.core.errors import ERRORS
from pixart_cli.core.png import encode
from pixart_cli.core.presets import get_preset
from pixart_cli.core.resolution import parse_size
from pixart_cli.core.settings import read_toml
from pixart_cli.features.finetune.config import read_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PUNCTUATION = re.compile(r"\|\|?|&&|;|[<>]")


def simple_commands(block: str) -> list[list[str]]:
    """The words of every `pixart …` in a block of shell, variables and templates left as they are."""
    found: list[list[str]] = []
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        inside = False
        for word in lexer:
            if PUNCTUATION.fullmatch(word):
                inside = False
            elif inside:
                found[-1].append(word)
            elif word == "pixart" or word.endswith("/pixart"):
                found.append([])
                inside = True
        if found and "xargs -0 pixart" in line:
            found[-1].append("a prompt that xargs appends")
    return found


SPANS = [shlex.split(span)[1:] for span in re.findall(r"`(pixart [^`]+)`", README)]
COMMANDS = [command for language, block in BLOCKS if language for command in simple_commands(block)]


def parse(words: list[str]) -> dict[str, Any]:
    """The values `words` give the command they name; a usage error if they do not fit it."""
    command: Any = typer.main.get_command(app)
    words = named(words)
    context = command.make_context("pixart", list(words))
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(words), parent=context)
    return dict(context.params)


def documented_options() -> set[str]:
    """Every option in the table of `gen`'s options."""
    table = README.split("## Options of `gen`")[1].split("\n## ")[0]
    return set(re.findall(r"`(--?[a-z0-9][a-z0-9-]*)", table))


def test_the_first_two_blocks_are_one_line_each_and_set_up_everything() -> None:
    first, second = (block.strip() for _, block in BLOCKS[:2])
    for line in (first, second):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert first.endswith('.venv/bin/pixart gen "a red sun over blue mountains" --res 4k -o poster.png')
    assert second.endswith(".venv/bin/python -m pytest")


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 10
    assert ["gen", "a red sun over blue mountains", "--res", "4k", "-o", "poster.png"] in COMMANDS


@pytest.mark.parametrize("words", [*COMMANDS, *SPANS], ids=" ".join)
def test_every_command_parses_and_names_what_exists(words: list[str]) -> None:
    values = parse(words)
    size = values.get("res")
    if size and "$" not in size:
        parse_size(size)
    if values.get("preset"):
        get_preset(values["preset"])


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "gen"], ids=" ".join)
def test_every_drawing_example_has_a_plan(
    words: list[str], tmp_path: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = example_files(tmp_path)
    cached = own_folders / "huggingface/hub/models--someone--pixart-lora/snapshots/abc"
    cached.mkdir(parents=True)
    (cached / "other.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a white moon\n")))
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"PIXART_{kind}_DIR", str(tmp_path / kind))
    said = [word.replace("$size", "4k:portrait").replace("$HOME", str(tmp_path)) for word in words]
    assert run([*said, "--dry-run"]) == 0
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == given


def example_files(folder: Path) -> list[Path]:
    """What the examples start from: a picture, and LoRAs without layers, one of them just trained."""
    picture, lora = folder / "sketch.png", folder / "ink.safetensors"
    trained = folder / "ink" / "lora" / "adapter_model.safetensors"
    trained.parent.mkdir(parents=True)
    picture.write_bytes(encode(Image.new("RGB", (8, 8)), [], dpi=None))
    for path in (lora, trained):
        path.write_bytes(b"\x03" + bytes(7) + b"{ }")
    return sorted([picture, lora, trained])


def test_every_option_of_the_table_is_an_option_of_gen_and_the_other_way_round() -> None:
    gen: Any = typer.main.get_command(app).commands["gen"]  # type: ignore[attr-defined]
    shown = {
        name for option in gen.params if not option.hidden for name in option.opts if name.startswith("-")
    }
    assert documented_options() - shown == set()
    assert shown - documented_options() - {"--help", "-h", "--debug"} == set()


def test_the_options_of_batch_are_those_of_gen_and_of_its_own_table() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = {
        name: {opt for each in commands[name].params for opt in each.opts if opt.startswith("-")}
        for name in ("gen", "batch")
    }
    table = README.split("## Batches")[1].split("\n## ")[0]
    own = {name for row in re.findall(r"^\| `(--.*?)`", table, re.MULTILINE) for name in row.split()[:1]}
    assert shown["batch"] - shown["gen"] == own
    assert shown["gen"] <= shown["batch"]


def test_commands_of_the_table_are_the_commands_of_the_program() -> None:
    table = README.split("## Commands")[1].split("\n## ")[0]
    named = set(re.findall(r"`pixart ([a-z]+)", table))
    program: Any = typer.main.get_command(app)
    assert named == {name for name, command in program.commands.items() if not command.hidden}


def test_every_named_size_is_a_size() -> None:
    section = README.split("## Sizes")[1].split("\n## ")[0]
    names = [name for name in re.findall(r"`([^` ]+)`", section) if not name.startswith((":", "+"))]
    assert len(names) > 30
    for name in names:
        parse_size(name)
    for name, pixels in re.findall(r"`([^` ]+)` \((\d+x\d+)\)", section):
        assert parse_size(name) == replace(parse_size(pixels), name=parse_size(name).name)


def test_every_preset_that_ships_is_named_and_the_other_way_round() -> None:
    section = README.split("## Presets")[1].split("```")[0]
    assert set(re.findall(r"`([^`]+)`", section)) == {path.stem for path in (ROOT / "presets").glob("*.toml")}


def test_toml_examples_are_taken(tmp_path: Path) -> None:
    project, preset, training = (block for language, block in BLOCKS if language == "toml")
    (tmp_path / "pixart.toml").write_text(project, encoding="utf-8")
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "evening.toml").write_text(preset, encoding="utf-8")
    environ = {"PIXART_CONFIG_DIR": str(tmp_path)}
    assert read_toml(tmp_path / "pixart.toml")["res"] == "ultrawide"
    assert get_preset("evening", environ).settings["res"] == "a3"
    (tmp_path / "ink.toml").write_text(training, encoding="utf-8")
    assert read_config(tmp_path / "ink.toml", {}).method == "lora"


def test_exit_codes_are_those_of_the_errors() -> None:
    section = README.split("## Exit codes")[1].split("\n## ")[0]
    codes = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for n in row.split(",")}
    assert codes == {kind.exit_code for kind in ERRORS.values()} | {0, 141}


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
