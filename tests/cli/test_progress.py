"""Bars on a terminal that can move its cursor, lines elsewhere."""

import io
import os
import subprocess
import sys

import pytest

from pixart_cli.cli.output import Printer
from pixart_cli.cli.progress import Progress, PullProgress, TrainProgress, can_animate
from pixart_cli.core.rendering import ProgressEvent
from pixart_cli.features.finetune.prepare import TrainEvent


class Terminal(io.StringIO):
    """A stream that says a person is looking."""

    encoding = "utf-8"

    def isatty(self):
        return True


EVENTS = [
    ProgressEvent(stage="load", step=1, total=1),
    *(ProgressEvent(stage="denoise", step=step, total=3, index=1) for step in (1, 2, 3)),
    ProgressEvent(stage="something new", step=1, total=1, index=1),
]


def show(mode, monkeypatch, stream, *, quiet=False):
    monkeypatch.setattr(sys, "stderr", stream)
    printer = Printer()
    printer.quiet = quiet
    progress = Progress(printer, mode, 2)
    with progress.shown() as on_progress:
        for event in EVENTS:
            on_progress(event)
            if progress._rich is not None:
                progress._rich.refresh()
        with progress.aside():
            progress.line("2/2: done")
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["auto", "bar"])
def test_a_terminal_gets_a_bar_a_stage_and_the_line(monkeypatch, mode):
    monkeypatch.setenv("TERM", "xterm")
    shown = show(mode, monkeypatch, Terminal())
    for words in (
        "loading the model",
        "2/2 drawing",
        "3/3",
        "something new",
        "2/2: done",
    ):
        assert words in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[38" not in show("auto", monkeypatch, Terminal())


@pytest.mark.parametrize(
    ("mode", "stream", "term"),
    [
        ("auto", io.StringIO, "xterm"),
        ("bar", io.StringIO, "xterm"),
        ("plain", Terminal, "xterm"),
        ("auto", Terminal, "dumb"),
    ],
)
def test_elsewhere_there_is_one_plain_line_a_picture(monkeypatch, mode, stream, term):
    monkeypatch.setenv("TERM", term)
    assert show(mode, monkeypatch, stream()) == "2/2: done\n"


def test_none_and_quiet_show_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert show("none", monkeypatch, io.StringIO()) == ""
    assert show("auto", monkeypatch, Terminal(), quiet=True) == ""
    assert can_animate()


def test_rich_is_loaded_only_for_a_bar():
    code = (
        "import sys\n"
        "from pixart_cli.cli.output import Printer\n"
        "from pixart_cli.cli.progress import Progress\n"
        "with Progress(Printer(), 'auto', 1).shown(): print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=os.environ)
    assert done.stdout == b"False\n"


def pull_event(stage, done, index=1):
    from pixart_cli.diffusion.pull import PullEvent

    return PullEvent(
        stage=stage, name="vae/model\x1b[2J", done=done, size=2000, index=index, count=2,
        total_done=done, total=4000,
    )  # fmt: skip


def follow_pull(mode, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with PullProgress(Printer(), mode).shown() as (on_pull, tell):
        for done in (1000, 2000, 2000):
            on_pull(pull_event("fetch", done))
        tell("the hub answered 503")
        on_pull(pull_event("check", 2000, index=2))
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_a_download_elsewhere_is_a_line_a_file(monkeypatch, mode):
    said = follow_pull(mode, monkeypatch, io.StringIO()).splitlines()
    assert [line.split(" vae")[0] for line in said] == [
        "1/2 downloaded",
        "the hub answered 503",
        "2/2 checked",
    ]
    assert "\x1b" not in "".join(said)


def test_a_download_on_a_terminal_has_a_bar_for_the_file_and_one_for_all(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    said = follow_pull("auto", monkeypatch, Terminal())
    assert "1/2 vae/model" in said
    assert "downloading" in said
    assert "2 kB/4 kB" in said
    assert "the hub answered 503" in said
    assert "\x1b[2J" not in said


def test_a_download_without_progress_says_only_what_matters(monkeypatch):
    assert follow_pull("none", monkeypatch, io.StringIO()) == "the hub answered 503\n"


TRAINING = [
    TrainEvent(stage="captions", done=1, total=2),
    TrainEvent(stage="captions", done=2, total=2),
    *(TrainEvent(stage="train", done=n, total=50, text=f"loss {n}\x1b[31m") for n in range(1, 51)),
    TrainEvent(stage="saved", done=50, total=50, text="go on"),
]


def follow(mode, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    progress = TrainProgress(Printer(), mode)
    with progress.shown() as on_event:
        for event in TRAINING:
            on_event(event)
            if progress._rich is not None:
                progress._rich.refresh()
    return stream.getvalue()


def test_training_on_a_terminal_is_a_bar_with_its_loss(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = follow("auto", monkeypatch, Terminal())
    for words in ("reading captions", "training", "50/50  loss 50", "saved at step 50/50  go on\n"):
        assert words in shown


def test_the_rest_of_a_run_is_told_in_time(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with TrainProgress(Printer(), "plain").shown() as on_event:
        on_event(TrainEvent(stage="train", done=1, total=9, text="loss 1", seconds_left=600.0))
    assert stream.getvalue() == "training 1/9  loss 1  about 10 min left\n"


def test_training_elsewhere_is_a_line_now_and_then(monkeypatch):
    lines = follow("auto", monkeypatch, io.StringIO()).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "reading captions 1/2", "reading captions 2/2", "training 1/50", "training 50/50",
        "saved at step 50/50",
    ]  # fmt: skip
    assert not any("\x1b" in line for line in lines)
    assert follow("none", monkeypatch, io.StringIO()) == ""
