"""The rules of the house hold: floors, siblings, the light door, short code, a mirror for each module.

import-linter and ruff check the imports in CI; these tests find the same mistakes with pytest alone,
from the syntax tree, and hold the rules that no linter knows.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

from pixart_cli.core.errors import ERRORS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pixart_cli"
FLOORS = ("core", "diffusion", "features", "cli")
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
HEAVY = (
    *("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub"),
    *("numpy", "PIL", "zlib_ng"),
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def dotted(path: Path) -> str:
    """The import name of a source file: pixart_cli/core/png.py is pixart_cli.core.png."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(name: str) -> str | None:
    """The floor a dotted name is on, or None for other packages and for pixart_cli itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "pixart_cli" and len(parts) > 1 and parts[1] in FLOORS else None


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name imported anywhere in `tree`, inside functions too; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions() -> Iterator[tuple[str, Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """(where, file, node) of every function of the package."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", path, node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_arrows_point_down_only() -> None:
    wrong = [
        f"{dotted(path)} imports {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if (here := floor(dotted(path)))
        and (there := floor(name))
        and FLOORS.index(there) > FLOORS.index(here)
    ]
    assert wrong == []


def test_features_import_no_sibling_but_generate() -> None:
    def feature(name: str) -> str | None:
        return name.split(".")[2] if floor(name) == "features" and name.count(".") > 1 else None

    wrong = [
        f"{dotted(path)} imports {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if (here := feature(dotted(path))) and feature(name) not in {None, here, "generate"}
    ]
    assert wrong == []


def test_core_knows_neither_networks_nor_terminal() -> None:
    forbidden = {"torch", "diffusers", "transformers", "accelerate", "typer", "rich"}
    wrong = [
        f"{dotted(path)} imports {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if floor(dotted(path)) == "core" and name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_only_cli_prints() -> None:
    def prints(node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id == "print"
        return isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}

    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES.items()
        if floor(dotted(path)) != "cli"
        for node in ast.walk(tree)
        if prints(node)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["core", "cli", "features"])
def test_importing_a_room_loads_no_heavy_library(room: str) -> None:
    modules = [
        dotted(path) for path in SOURCES if floor(dotted(path)) == room and ".train" not in dotted(path)
    ]
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_files_and_functions_stay_short() -> None:
    long_files = [str(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 300]
    long_functions = [where for where, _, node in functions() if length(node) > 60]
    assert (long_files, long_functions) == ([], [])


def test_most_functions_are_a_few_lines() -> None:
    lengths = [length(node) for _, _, node in functions()]
    assert median(lengths) <= 10
    assert quantiles(lengths, n=10)[-1] <= 30


def test_eight_arguments_at_most_but_for_commands() -> None:
    def count(arguments: ast.arguments) -> int:
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return len([a for a in named if a.arg not in {"self", "cls"}])

    assert [w for w, path, n in functions() if floor(dotted(path)) != "cli" and count(n.args) > 8] == []


def test_no_drawer_for_odds_and_ends() -> None:
    assert [
        p.name for p in PACKAGE.rglob("*") if p.stem in {"utils", "util", "helpers", "common", "misc"}
    ] == []


def test_every_module_has_its_mirror_in_tests() -> None:
    modules = [path for path in SOURCES if not path.stem.startswith("__")]
    mirrors = {
        ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.stem}.py": path for path in modules
    }
    assert [str(m.relative_to(ROOT)) for m in mirrors if not m.exists()] == []


def test_every_error_code_raised_is_in_the_table() -> None:
    raised = {
        (str(path.relative_to(ROOT)), node.args[0].value)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PixartError")
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert raised
    assert {(where, code) for where, code in raised if code not in ERRORS} == set()


def test_the_linters_hold_the_same_rules() -> None:
    contracts = {row["id"]: row for row in PYPROJECT["tool"]["importlinter"]["contracts"]}
    assert contracts["floors"]["layers"] == list(reversed(FLOORS))
    assert contracts["floors"]["exhaustive"] is True
    assert contracts["siblings"]["type"] == "independence"
    assert {"torch", "diffusers", "typer", "rich"} <= set(contracts["light-core"]["forbidden_modules"])
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert {"TID", "T20"} <= set(lint["select"])
    banned = set(lint["flake8-tidy-imports"]["banned-module-level-imports"])
    assert {*HEAVY, "pixart_cli.features", "pixart_cli.diffusion"} <= banned
    assert PYPROJECT["tool"]["mypy"]["strict"] is True


def test_the_wheel_carries_presets_and_license() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"presets": "pixart_cli/presets"}
    assert list((ROOT / "presets").rglob("*.toml"))
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
