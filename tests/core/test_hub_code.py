"""What was installed draws: no package may fetch compiled code from the hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: what is refused stays so.
ASK = """
import importlib.util, sys
{first}
from pixart_cli.core.hub_code import refuse_hub_code
refuse_hub_code()
refuse_hub_code()
print(importlib.util.find_spec("kernels"))
try:
    import kernels
except ImportError:
    print("refused")
"""


def asked(folder: Path, first: str) -> list[str]:
    (folder / "kernels.py").write_text("print('loaded')")
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + ASK.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_the_package_is_as_good_as_not_installed(tmp_path: Path) -> None:
    assert asked(tmp_path, "") == ["None", "refused"]


def test_one_that_somebody_loaded_already_is_left_alone(tmp_path: Path) -> None:
    found = asked(tmp_path, "import kernels")
    assert found[0] == "loaded"
    assert found[1].startswith("ModuleSpec")
    assert len(found) == 2


def test_the_command_refuses_it_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("print('loaded')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pixart_cli.cli.app import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "import logging; print(sys.modules['kernels'], logging.getLogger('bitsandbytes').level)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == "None 40"
