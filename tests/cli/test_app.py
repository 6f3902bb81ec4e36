"""The front door: help, version, every failure's sentence and exit code, signals and broken pipes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pixart_cli import __version__
from pixart_cli.cli.app import app, main, run
from pixart_cli.core.errors import PixartError
from tests.processes import PATIENCE

HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "zlib_ng",
    "diffusers",
    "transformers",
    "accelerate",
    "rich",
    "platformdirs",
    "huggingface_hub",
)
SMALL = ("-r", "64x48")
COMMANDS = (
    "gen",
    "batch",
    "info",
    "replay",
    "presets list",
    "presets show",
    "models list",
    "models path",
    "doctor",
    "train mini",
)


@pytest.mark.parametrize(
    "args", [["--help"], ["gen", "-h"], ["gen", "--nope"], ["--version"], ["presets", "list"]]
)
def test_light_commands_load_nothing_heavy(args):
    code = (
        f"import sys; from pixart_cli.cli.app import run; run({args!r});"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_help_starts_without_sockets_and_without_openssl():
    code = (
        "import sys; from pixart_cli.cli.app import run; run(['--help']);"
        "print(*[name for name in ('socket', '_hashlib') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_help_shows_examples_before_options_and_commands(pixart):
    page = pixart("--help").out
    assert page.index("Examples:") < page.index("Options:") < page.index("Commands:")
    assert re.search(r"^  train +Train a model on pictures of your own\.$", page, re.MULTILINE)


def test_the_examples_of_the_help_pages_are_command_lines_that_work(pixart):
    for page in (pixart("--help").out, pixart("gen", "-h").out):
        for line in re.findall(r"^ +pixart (gen .*)$", page, flags=re.MULTILINE):
            words = line.split("#")[0].replace("> poster.png", "")
            args = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', words)]
            if args[1] != "-":
                assert (line, pixart(*args, "--dry-run").code) == (line, 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_h_is_help_everywhere(name):
    pages = [CliRunner().invoke(app, [*name.split(), flag]) for flag in ("-h", "--help")]
    assert pages[0].exit_code == 0
    assert pages[0].output == pages[1].output
    assert f"Usage: pixart {name}" in pages[0].output


def test_version(pixart):
    assert pixart("--version").out == f"pixart {__version__}\n"


def test_module_and_console_script_are_the_same(shell):
    done = shell("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"pixart {__version__}\n")
    with pytest.raises(SystemExit) as ended:
        main(["nonsense"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["gne", "x"], "no such command 'gne'", "Did you mean 'gen'?"),
        (["gen", "x", "--stps", "3"], "no such option: --stps", "Did you mean --steps?"),
        (["gen", "x", "--steps"], "option '--steps' requires an argument", "See 'pixart"),
        (["gen"], "missing argument 'PROMPT'", "See 'pixart gen --help'."),
        (["presets", "lst"], "no such command 'lst'", "Did you mean 'list'?"),
        (["info"], "missing argument 'IMAGE'", "See 'pixart info --help'."),
    ],
)
def test_usage_errors_have_one_form(pixart, args, message, hint):
    ran = pixart(*args)
    assert (ran.code, ran.out) == (2, "")
    first, second = ran.err.splitlines()
    assert first.lower().startswith(f"error: {message}".lower())
    assert second.startswith(f"hint: {hint}")
    error = pixart(*args, "--json").json["error"]
    assert (error["code"], error["exit"]) == ("usage", 2)


@pytest.mark.parametrize("group", [[], ["presets"], ["models"]])
def test_a_group_alone_shows_its_page_and_fails(pixart, group):
    ran = pixart(*group)
    assert (ran.code, ran.out) == (2, "")
    assert "Commands:" in ran.err
    assert pixart(*group, "--json").json["ok"] is False


def test_a_bug_says_so_and_shows_its_traceback_only_if_asked(pixart, stand_in):
    stand_in.fail_at, stand_in.failure = 0, KeyError("oh\x1b[2J")
    ran = pixart("gen", "sun", *SMALL)
    assert ran.code == 1
    assert "error: a bug in pixart: KeyError" in ran.err
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err
    assert "Traceback" in pixart("gen", "sun", *SMALL, "--debug").err
    document = pixart("--debug", "gen", "sun", *SMALL, "--json")
    assert (document.json["error"]["code"], document.json["error"]["exit"]) == ("bug", 1)


def test_debug_shows_the_traceback_of_a_mistake_too(pixart, monkeypatch):
    assert "Traceback" in pixart("gen", "sun", "-r", "x", "--debug").err
    monkeypatch.setenv("PIXART_DEBUG", "1")
    assert "Traceback" in pixart("gen", "sun", "-r", "x").err
    monkeypatch.setenv("PIXART_DEBUG", "0")
    assert "Traceback" not in pixart("gen", "sun", "-r", "x").err


def test_debug_after_two_dashes_is_a_prompt(pixart, stand_in):
    assert pixart("gen", *SMALL, "--", "--debug").code == 0
    assert stand_in.drawn[0].prompt == "--debug"


@pytest.mark.parametrize(
    ("failure", "exit_code", "code"),
    [
        (PixartError("out-of-memory", "full", "x"), 5, "out-of-memory"),
        (MemoryError(), 5, "out-of-memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4, "install-broken"),
        (ModuleNotFoundError("No module named 'pixart_cli.x'", name="pixart_cli.x"), 1, "bug"),
        (OSError(5, "Input/output error"), 1, "bug"),
        (ValueError("x"), 1, "bug"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_failure_has_its_exit_code(pixart, stand_in, failure, exit_code, code, tmp_path):
    stand_in.fail_at, stand_in.failure = 0, failure
    ran = pixart("gen", "sun", *SMALL, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (exit_code, code)
    assert list(tmp_path.iterdir()) == []


def start(tmp_path: Path, *args: str, **options) -> subprocess.Popen[bytes]:
    """`pixart` in a process of its own whose renderer waits for ever after its first picture."""
    code = """
import sys, time
from pixart_cli.cli.app import run
from tests.stand_in import StandIn
class Slow(StandIn):
    def render(self, requests, *, on_progress):
        for rendering in super().render(requests, on_progress=on_progress):
            yield rendering
            try:
                print("ready", file=sys.stderr, flush=True)
                while True: time.sleep(0.05)
            finally:
                if "stubborn" in requests[0].prompt:
                    print("cleaning up", file=sys.stderr, flush=True)
                    while True: time.sleep(0.05)
sys.exit(run(sys.argv[1:], renderers=lambda model, plan: Slow()))
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=tmp_path, env=environ, **streams)


def wait_until(words: bytes, process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    assert any(line == words + b"\n" for line in process.stderr), "it ended before"


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_cleanly_and_keeps_what_is_finished(tmp_path, number, code, name):
    process = start(tmp_path, "gen", "sun", "-r", "64x48", "-n", "2", "-s", "1", "--json")
    wait_until(b"ready", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert b"Traceback" not in err
    document = json.loads(out)
    assert document["error"]["code"] == name
    assert [image["path"] for image in document["images"]] == ["sun-1.png"]
    assert [path.name for path in tmp_path.glob("*.p*") if path.suffix in {".png", ".part"}] == ["sun-1.png"]


def test_a_signal_that_a_library_turned_into_an_error_is_still_the_signal(pixart, stand_in, monkeypatch):
    def interrupted(requests, *, on_progress):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr(stand_in, "render", interrupted)
    ran = pixart("gen", "sun", *SMALL, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (130, "interrupted")


def test_ctrl_c_while_pixart_itself_is_read_is_no_traceback():
    code = """
import sys
import pixart_cli.__main__ as door
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "pixart_cli.cli.app": raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
door.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    process = start(tmp_path, "gen", "stubborn", "-r", "64x48", "-n", "2")
    wait_until(b"ready", process)
    process.send_signal(signal.SIGINT)
    wait_until(b"cleaning up", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 130
    process.communicate()


def test_a_reader_that_goes_away_is_141_in_silence_and_the_pictures_are_drawn(tmp_path, shell):
    reader, writer = os.pipe()
    os.close(reader)
    done = shell("presets", "list", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_pictures_go_on_when_nobody_reads_their_names(pixart, monkeypatch, stand_in, tmp_path):
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        code = run(["gen", "sun", *SMALL, "-n", "2", "-s", "1"], renderers=lambda model, plan: stand_in)
    assert code == 141
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sun-1.png", "sun-2.png"]


@pytest.mark.parametrize("args", [["--version"], ["gen", "--help"]])
def test_a_page_without_a_reader_or_room_is_no_bug(shell, args):
    reader, writer = os.pipe()
    os.close(reader)
    done = shell(*args, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = shell(*args, stdout=full)
    assert (done.returncode, done.stderr.count(b"error: cannot write to standard output")) == (9, 1)


@pytest.mark.parametrize(
    "args", [["presets", "list"], ["presets", "list", "--json"], ["gen", "x", "-r", "?", "--json"]]
)
def test_a_full_disk_behind_standard_output_is_told(shell, args):
    with Path("/dev/full").open("wb") as full:
        done = shell(*args, stdout=full)
    assert done.returncode == (2 if "gen" in args else 9)
    assert done.stderr.count(b"error:") == 1
    assert b"Traceback" not in done.stderr


def test_closed_streams_do_no_harm(tmp_path):
    argv = [sys.executable, "-m", "pixart_cli", "presets", "list", "--json"]
    quoted = " ".join(argv)
    assert subprocess.run(["sh", "-c", f"{quoted} 2>&-"], stdout=subprocess.PIPE, check=False).returncode == 0
    done = subprocess.run(["sh", "-c", f"{quoted} >&-"], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, b"standard output is closed" in done.stderr) == (9, True)


def test_completion_is_answered(tmp_path):
    environ = {
        **os.environ,
        "_PIXART_COMPLETE": "complete_bash",
        "COMP_WORDS": "pixart re",
        "COMP_CWORD": "1",
    }
    argv = [sys.executable, "-m", "pixart_cli"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["replay"]
